// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Makes the bindings of intel-ipsec-mb, which has no binding crate. Only for x86-64, where the
//! library exists.

use std::env;
use std::path::PathBuf;

/// The functions that give access to the manager's functions.
const FUNCTIONS: &str =
    "alloc_mb_mgr|init_mb_mgr_auto|free_mb_mgr|imb_get_errno|imb_get_version_str|imb_hmac_ipad_opad";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if env::var("CARGO_CFG_TARGET_ARCH").as_deref() != Ok("x86_64") {
        return;
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default()).join("ipsec_mb.rs");
    let bindings = bindgen::Builder::default()
        .header_contents("wrapper.h", "#include <intel-ipsec-mb.h>\n")
        .allowlist_function(FUNCTIONS)
        .allowlist_type("IMB_MGR|IMB_JOB|gcm_key_data|gcm_context_data")
        // Only the library reads their fields.
        .opaque_type("gcm_key_data|gcm_context_data|chacha20_poly1305_context_data")
        .derive_debug(false)
        .generate_comments(false)
        .generate();
    match bindings {
        Ok(bindings) => {
            if let Err(error) = bindings.write_to_file(&out) {
                fail(&format!("cannot write {}: {error}", out.display()));
            }
        }
        Err(error) => fail(&format!(
            "cannot read intel-ipsec-mb.h: {error}; install libipsec-mb-dev and libclang"
        )),
    }
    println!("cargo::rustc-link-lib=IPSec_MB");
}

fn fail(message: &str) -> ! {
    println!("cargo::error={message}");
    std::process::exit(1);
}
