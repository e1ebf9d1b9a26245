# SPDX-License-Identifier: GPL-2.0
"""strongSwan on both sides: daemons in the test's namespaces, with files of their own."""

import os
import pathlib
import shutil
import signal
import tempfile

from . import ike, proc
from .ktap import Failure, Skip, defer

DAEMONS = ("/usr/sbin/charon-systemd", "/usr/lib/ipsec/charon")
SECRET = "0sZXNwbmljIHNlbGZ0ZXN0cyBvbmx5"
CONNECTION, CHILD = "espnic", "net"
TIDY = "delete_rekeyed_delay = 1"  # seconds for packets under way to an SA that was replaced
SETTINGS = """\
charon {{
    install_routes = no
    install_virtual_ip = no
    {settings}
    filelog {{
        file {{
            path = {log}
            default = 1
            flush_line = yes
        }}
    }}
    syslog {{
        daemon {{
            default = -1
        }}
    }}
    plugins {{
        include /etc/strongswan.d/charon/*.conf
        vici {{
            socket = {vici}
        }}
    }}
}}
"""
CONFIG = """\
connections {{
    {connection} {{
        version = 2
        local_addrs = {own}
        remote_addrs = {other}
        proposals = aes128gcm16-prfsha256-x25519, aes128-sha256-x25519
        encap = {encap}
        mobike = no
        {more}
        local {{
            auth = psk
            id = {own_id}
        }}
        remote {{
            auth = psk
            id = {other_id}
        }}
        children {{
            {child} {{
                mode = {mode}
                local_ts = {own_net}
                remote_ts = {other_net}
                esp_proposals = {proposal}
                hw_offload = {offload}
                rekey_time = 0
                life_time = 0
                {more_child}
            }}
        }}
    }}
}}
secrets {{
    ike {{
        id-own = {own_id}
        id-other = {other_id}
        secret = {secret}
    }}
}}
"""


class Daemon:
    """One strongSwan, in a namespace. settings are more lines for charon."""

    def __init__(self, ns, name, settings=""):
        program = next((path for path in DAEMONS if os.access(path, os.X_OK)), None)
        if not program:
            raise Skip("strongSwan is not installed")
        proc.need("swanctl")
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix=f"ike-{name}-"))
        defer(shutil.rmtree, self.folder, ignore_errors=True)
        self._ns, self._name, self.log = ns, name, self.folder / "log"
        self._uri = f"unix://{self.folder}/vici"
        file = self.folder / "strongswan.conf"
        file.write_text(SETTINGS.format(log=self.log, vici=self._uri, settings=settings),
                        encoding="ascii")
        self._program = program
        self._environment = {**os.environ, "STRONGSWAN_CONF": str(file)}
        self.start()

    def start(self):
        """Start the program, again after its end."""
        self._process = self._ns.spawn(self._program, env=self._environment)
        proc.wait_until(self._listens, f"strongSwan of {self._name} starts")

    def kill(self):
        """End the program without a chance to delete anything."""
        self._process.kill()
        self._process.wait()
        (self.folder / "vici").unlink()

    def stop(self):
        """End the program in order."""
        proc.stop(self._process)

    def silence(self):
        """Let the program do nothing, until the end of the case or speak()."""
        self._process.send_signal(signal.SIGSTOP)
        defer(self.speak)

    def speak(self):
        """Let it go on."""
        self._process.send_signal(signal.SIGCONT)

    def _listens(self):
        if self._process.poll() is not None:
            raise Failure(f"strongSwan ended:\n{''.join(proc.stop(self._process))}")
        return (self.folder / "vici").exists()

    def control(self, *words, timeout=30):
        """Output of swanctl; raises with the daemon's last words if it fails."""
        result = self._ns.run("env", f"STRONGSWAN_CONF={self._environment['STRONGSWAN_CONF']}",
                              "swanctl", *words, "--uri", self._uri, timeout=timeout)
        if result.returncode:
            raise Failure(f"swanctl {' '.join(words)}: {result.stderr or result.stdout}\n"
                          f"{self.words()}")
        return result.stdout

    def load(self, **fields):
        """Load a connection."""
        config = self.folder / "swanctl.conf"
        config.write_text(CONFIG.format(connection=CONNECTION, child=CHILD, secret=SECRET,
                                        **fields), encoding="ascii")
        self.control("--load-all", "--noprompt", "--file", str(config))

    def words(self, lines=15):
        """The end of its log."""
        return ike.last_words(self.log, lines)


class Pair:
    """strongSwan on both sides of a test, with one connection between them.

    offload concerns the side under test; the peer is software unless peer_offload says otherwise.
    settings are more lines for both daemons.
    """

    def __init__(self, cfg, settings=""):
        ike.forget_xfrm_interfaces()
        self.dut = Daemon(cfg.dut, "dut", settings)
        self.peer = Daemon(cfg.peer, "peer", settings)

    def load(self, flow, offload, proposal="aes128gcm16", encap=False, more="", more_child="",
             peer_offload="no", peer_more_child=""):
        """Load a connection for the traffic of a flow. more are lines for both sides, more_child
        such for the connection's child, at the side under test."""
        sides = zip((self.dut, self.peer), (offload, peer_offload), (more_child, peer_more_child),
                    ike.sides(flow), strict=True)
        for daemon, mode, more_child_here, fields in sides:
            daemon.load(**fields, offload=mode, proposal=proposal, mode=flow.mode,
                        encap="yes" if encap else "no", more=more, more_child=more_child_here)

    def initiate(self):
        """Make the SAs."""
        self.dut.control("--initiate", "--child", CHILD, "--timeout", "20")

    def rekey(self):
        """Replace the SAs by new ones."""
        self.dut.control("--rekey", "--child", CHILD)

    def rekey_ike(self, *how):
        """Replace the SA of IKE by a new one; with --reauth those of ESP, too."""
        self.dut.control("--rekey", "--ike", CONNECTION, *how)

    def terminate(self):
        """Delete everything."""
        self.dut.control("--terminate", "--ike", CONNECTION, "--timeout", "10")
