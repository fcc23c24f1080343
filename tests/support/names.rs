//! A name service of the test's own, in a namespace that a program is run in.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::flux::{group, user};

/// What names mean to the programs that run in it.
pub struct Names(TempDir);

/// Mounts an /etc of our own over the system's and runs the program. `$0` is our
/// folder. Any of the files may be missing in the system's, or be a link. For the
/// mount we are root, and then again who the program shall be: a broker takes
/// commands from its own user only.
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

/// A name server that never answers. It ends when its parent does.
const SILENT: &str = r#"
const parent = process.ppid;
setInterval(() => { if (process.ppid !== parent) process.exit(); }, 200);
const socket = require('dgram').createSocket('udp4');
socket.bind(53, '127.0.0.1', () => require('fs').writeFileSync(process.argv[1].replace('silent.js', 'ready'), ''));
"#;

impl Names {
    /// Names are what this text says, in the form of hosts(5), and no more.
    pub fn known(hosts: &str) -> Names {
        let names = Names::new("hosts: files\n");
        names.set(hosts);
        names
    }

    /// A name server is asked that never answers. The program has a network of
    /// its own, in which nothing else is.
    pub fn silent() -> Names {
        let names = Names::new("hosts: dns\n");
        fs::write(names.file("silent.js"), SILENT).unwrap();
        names
    }

    /// The same, with options of resolv.conf(5): how long it is waited for.
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

    /// Names are what this text says from now on.
    pub fn set(&self, hosts: &str) {
        // In place: it is the file itself that is mounted.
        fs::write(self.file("hosts"), hosts).unwrap();
    }

    /// Runs `program` where names mean this.
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
