//! A name service for a program in its own namespace.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::flux::{group, user};

/// The folder with the files of the name service.
pub struct Names(TempDir);

/// Mounts a copy of /etc with files of the test over it, and runs the program. `$0` is the
/// folder of the test. In the system's /etc these files may be missing or be links. The mount
/// needs root; the program gets its own user again, because a broker accepts commands from its
/// own user only.
const ENTER: &str = r#"
user=$1 group=$2
shift 2
# All that we may read.
cp -rd --no-preserve=mode /etc "$0/etc" 2>&-
for file in hosts nsswitch.conf resolv.conf; do
    ln -sf "$0/$file" "$0/etc/$file" || exit 1
done
mount --bind "$0/etc" /etc || exit 1
if [ -f "$0/silent.js" ]; then
    ip link set lo up
    node "$0/silent.js" <&- >&- 2>&- &
    until [ -f "$0/ready" ]; do sleep 0.02; done
fi
exec unshare --map-user="$user" --map-group="$group" "$@"
"#;

/// A name server that never responds. It ends with its parent.
const SILENT: &str = r#"
const parent = process.ppid;
setInterval(() => { if (process.ppid !== parent) process.exit(); }, 200);
const socket = require('dgram').createSocket('udp4');
socket.bind(53, '127.0.0.1', () => require('fs').writeFileSync(process.argv[1].replace('silent.js', 'ready'), ''));
"#;

impl Names {
    /// A name service with the names of this text, in the form of hosts(5).
    pub fn known(hosts: &str) -> Names {
        let names = Names::new("hosts: files\n");
        names.set(hosts);
        names
    }

    /// A name service whose name server never responds. The program has its own network
    /// namespace.
    pub fn silent() -> Names {
        let names = Names::new("hosts: dns\n");
        fs::write(names.file("silent.js"), SILENT).unwrap();
        names
    }

    /// As `silent`, with options of resolv.conf(5), for example timeouts.
    pub fn silent_with(options: &str) -> Names {
        let names = Names::silent();
        let text = format!("nameserver 127.0.0.1\noptions {options}\n");
        fs::write(names.file("resolv.conf"), text).unwrap();
        names
    }

    fn new(order: &str) -> Names {
        let names = Names(tempfile::tempdir().unwrap());
        names.set("");
        fs::write(names.file("nsswitch.conf"), order).unwrap();
        fs::write(names.file("resolv.conf"), "nameserver 127.0.0.1\n").unwrap();
        names
    }

    /// Replaces the names.
    pub fn set(&self, hosts: &str) {
        // In place, because the file itself is mounted.
        fs::write(self.file("hosts"), hosts).unwrap();
    }

    /// A command that runs `program` with this name service.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("unshare");
        let network = self.file("silent.js").exists().then_some("--net");
        command.args(["--map-root-user", "--mount"]).args(network);
        command.args(["sh", "-c", ENTER]).arg(self.0.path());
        command.args([user(), group()].map(|id| id.to_string())).arg(program);
        command
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}
