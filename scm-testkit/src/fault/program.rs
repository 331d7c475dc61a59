//! Servers and proxies as they are in the field, each in a process of its own on ports of its own.
//!
//! ```no_run
//! # async fn example() -> std::io::Result<()> {
//! use scm_testkit::fault::program::Program;
//!
//! let Some(squid) = Program::squid("http_access deny all\n", &[]).await? else { return Ok(()) };
//! println!("http://{}", squid.address());
//! # Ok(())
//! # }
//! ```

use std::{
    fs, io,
    net::{SocketAddr, TcpListener},
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use tempfile::TempDir;
use tokio::{
    net::TcpStream,
    process::{Child, Command},
    time::{sleep, timeout},
};

/// Where programs are, also those that only administrators start.
const PLACES: &[&str] = &["/usr/sbin", "/usr/bin", "/usr/local/sbin", "/usr/local/bin", "/opt/homebrew/bin"];

/// Where squid and tinyproxy write what they are asked for.
const REQUESTS: &str = "requests";

/// Longest time until a program listens.
const PATIENCE: Duration = Duration::from_secs(20);

/// How often one is started that ends at once.
const TRIES: u32 = 5;

/// Answers `OK` to squid for the user `svc` with the password `p@ss`. squid encodes some characters.
const AUTH: &str = "while read user password; do case \"$user $password\" in 'svc p%40ss'|'svc p@ss') echo OK;; *) echo ERR;; esac; done";

/// A program that listens. Dropping it ends it and removes its folder.
#[derive(Debug)]
pub struct Program {
    addresses: Vec<SocketAddr>,
    child: Child,
    dir: TempDir,
}

impl Program {
    /// squid with these lines of configuration, in which `DIR` stands for a folder of its own with these files. A helper
    /// for Basic authentication is set up, which knows `svc` with `p@ss`. `None` where it is not installed.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn squid(rules: &str, files: &[(&str, &str)]) -> io::Result<Option<Self>> {
        let rules = format!(
            "http_port 127.0.0.1:PORT0\npid_filename none\ncache deny all\naccess_log stdio:DIR/requests\ncache_log /dev/null\n\
             coredump_dir DIR\nvisible_hostname squid.test\nnetdb_filename none\npinger_enable off\n\
             shutdown_lifetime 0 seconds\nquick_abort_min 0 KB\nquick_abort_max 0 KB\n\
             auth_param basic program /bin/sh DIR/auth.sh\nauth_param basic children 1\n{rules}"
        );
        Self::start(
            "squid",
            &["-N", "-n", "scmPORT0", "-f", "DIR/conf"],
            1,
            &rules,
            &[files, &[("auth.sh", AUTH), (REQUESTS, "")]].concat(),
        )
        .await
    }

    /// tinyproxy with these lines of configuration, in which `DIR` stands for a folder of its own with these files.
    /// `None` where it is not installed.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn tinyproxy(rules: &str, files: &[(&str, &str)]) -> io::Result<Option<Self>> {
        let rules = format!(
            "Port PORT0\nListen 127.0.0.1\nTimeout 60\nMaxClients 50\nLogLevel Connect\nLogFile \"DIR/requests\"\n{rules}"
        );
        Self::start("tinyproxy", &["-d", "-c", "DIR/conf"], 1, &rules, files).await
    }

    /// nginx with these `server` blocks, in which `PORT0`, `PORT1`… stand for free ports and `DIR` for a folder of its own
    /// with these files. `None` where it is not installed.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn nginx(ports: usize, servers: &str, files: &[(&str, &str)]) -> io::Result<Option<Self>> {
        let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
        let temporary: String =
            temporary.iter().map(|kind| format!("{kind}_temp_path DIR/{kind};\n")).collect();
        let config = format!(
            "daemon off;\nmaster_process off;\npid DIR/pid;\nerror_log DIR/log;\nevents {{ worker_connections 64; }}\n\
             http {{\naccess_log off;\n{temporary}{servers}\n}}\n"
        );
        Self::start("nginx", &["-p", "DIR", "-e", "DIR/log", "-c", "DIR/conf"], ports, &config, files).await
    }

    async fn start(
        program: &str,
        args: &[&str],
        ports: usize,
        config: &str,
        files: &[(&str, &str)],
    ) -> io::Result<Option<Self>> {
        let found = PLACES.iter().map(|place| Path::new(place).join(program)).find(|path| path.exists());
        let Some(path) = found else { return Ok(None) };
        let mut tries = 0;
        loop {
            tries += 1;
            match Self::start_once(&path, args, ports, config, files).await {
                // A port that was free a moment ago may be taken by now.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe && tries < TRIES => {}
                started => return started.map(Some),
            }
        }
    }

    async fn start_once(
        path: &Path,
        args: &[&str],
        ports: usize,
        config: &str,
        files: &[(&str, &str)],
    ) -> io::Result<Self> {
        let program = path.display();
        let dir = tempfile::tempdir()?;
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            // squid's helpers run as another user.
            fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755))?;
        }
        // All at once, so that no two are the same.
        let free = (0..ports).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<io::Result<Vec<_>>>()?;
        let addresses = free.iter().map(TcpListener::local_addr).collect::<io::Result<Vec<_>>>()?;
        drop(free);
        let shown = dir.path().to_string_lossy().into_owned();
        let fill = |text: &str| {
            let text = text.replace("DIR", &shown);
            // PORT1 is the start of PORT10.
            let numbered = addresses.iter().enumerate().rev();
            numbered.fold(text, |text, (index, address)| {
                text.replace(&format!("PORT{index}"), &address.port().to_string())
            })
        };
        for (name, text) in files {
            fs::write(dir.path().join(name), text)?;
        }
        #[cfg(unix)]
        if files.iter().any(|(name, _)| *name == REQUESTS) {
            use std::os::unix::fs::PermissionsExt as _;
            // squid itself is another user too, where an administrator starts it.
            fs::set_permissions(dir.path().join(REQUESTS), fs::Permissions::from_mode(0o666))?;
        }
        fs::write(dir.path().join("conf"), fill(config))?;
        let mut child = Command::new(path)
            .args(args.iter().map(|arg| fill(arg)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        let first = addresses.first().copied();
        let ready = async {
            while let Some(address) = first
                && TcpStream::connect(address).await.is_err()
            {
                if let Some(status) = child.try_wait()? {
                    let log = fs::read_to_string(dir.path().join("log")).unwrap_or_default();
                    let said = format!("{program} ended at once ({status}): {log}");
                    return Err(io::Error::new(io::ErrorKind::BrokenPipe, said));
                }
                sleep(Duration::from_millis(20)).await;
            }
            Ok(())
        };
        timeout(PATIENCE, ready)
            .await
            .map_err(|_| io::Error::other(format!("{program} does not listen")))??;
        Ok(Self { addresses, child, dir })
    }

    /// Where it listens first.
    ///
    /// # Panics
    /// When it was started without a port.
    pub fn address(&self) -> SocketAddr {
        self.addresses[0]
    }

    /// Every place where it listens.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// How many requests and tunnels squid or tinyproxy have been asked for, those that are over at least.
    ///
    /// # Errors
    /// When that cannot be read.
    pub fn requests(&self) -> io::Result<usize> {
        let log = fs::read_to_string(self.dir.path().join(REQUESTS))?;
        // A line of squid's is one; tinyproxy has several for each.
        let is_request = |line: &&str| line.contains("Request (file descriptor") || line.contains(" TCP_");
        Ok(log.lines().filter(is_request).count())
    }
}

impl Drop for Program {
    /// Asks it to end, so that it takes its shared memory with it; what does not end is killed.
    fn drop(&mut self) {
        let Some(id) = self.child.id() else { return };
        let asked = std::process::Command::new("kill").arg(id.to_string()).status();
        let end = Instant::now() + Duration::from_secs(2);
        while asked.is_ok() && Instant::now() < end && matches!(self.child.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}
