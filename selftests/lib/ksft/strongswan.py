# SPDX-License-Identifier: GPL-2.0
"""strongSwan on both sides: daemons in the test's namespaces, with files of their own."""

import os
import pathlib
import shutil
import tempfile

from . import ike, proc
from .ktap import Failure, Skip, defer

DAEMONS = ("/usr/sbin/charon-systemd", "/usr/lib/ipsec/charon")
SECRET = "0sZXNwbmljIHNlbGZ0ZXN0cyBvbmx5"
CONNECTION, CHILD = "espnic", "net"
SETTINGS = """\
charon {{
    install_routes = no
    install_virtual_ip = no
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
    """One strongSwan, in a namespace."""

    def __init__(self, ns, name):
        program = next((path for path in DAEMONS if os.access(path, os.X_OK)), None)
        if not program:
            raise Skip("strongSwan is not installed")
        proc.need("swanctl")
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix=f"ike-{name}-"))
        defer(shutil.rmtree, self.folder, ignore_errors=True)
        self._ns, self.log = ns, self.folder / "log"
        self._uri = f"unix://{self.folder}/vici"
        settings = self.folder / "strongswan.conf"
        settings.write_text(SETTINGS.format(log=self.log, vici=self._uri), encoding="ascii")
        self._environment = {**os.environ, "STRONGSWAN_CONF": str(settings)}
        self._process = ns.spawn(program, env=self._environment)
        proc.wait_until(self._listens, f"strongSwan of {name} starts")

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

    offload concerns the side under test; the peer is software.
    """

    def __init__(self, cfg):
        ike.forget_xfrm_interfaces()
        self.dut, self.peer = Daemon(cfg.dut, "dut"), Daemon(cfg.peer, "peer")

    def load(self, flow, offload, proposal="aes128gcm16", encap=False, more="", more_child=""):
        """Load a connection for the traffic of a flow."""
        for daemon, mode, fields in zip((self.dut, self.peer), (offload, "no"), ike.sides(flow),
                                        strict=True):
            daemon.load(**fields, offload=mode, proposal=proposal, mode=flow.mode,
                        encap="yes" if encap else "no", more=more, more_child=more_child)

    def initiate(self):
        """Make the SAs."""
        self.dut.control("--initiate", "--child", CHILD, "--timeout", "20")

    def rekey(self):
        """Replace the SAs by new ones."""
        self.dut.control("--rekey", "--child", CHILD)

    def terminate(self):
        """Delete everything."""
        self.dut.control("--terminate", "--ike", CONNECTION, "--timeout", "10")
