//! The ways to the origin, each with programs and a caller of its own.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{Error, Result};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use benches::{AGENT, AUTHORITY, CERTIFICATE, KEY, Process, Proxy, SERVICE, peak};
use scm_relay::KeyHash;
use tokio::runtime::Runtime;

use crate::{here, program};

const CALLER: &str = env!("CARGO_BIN_EXE_bench-caller");

/// The token that both ends of the broker know.
const TOKEN: &str = "11111111-1111-4111-8111-111111111111";

/// Where the origin is, and what the way there is to be.
pub(crate) struct Scene<'a> {
    pub(crate) origin: &'a str,
    /// Certificates for every connection, where they are encrypted.
    pub(crate) certificates: Option<&'a Path>,
    /// The round trip between the ends of a tunnel.
    pub(crate) round_trip: Duration,
    /// For configurations and logs.
    pub(crate) folder: &'a Path,
    pub(crate) runtime: &'a Runtime,
}

/// One way to the origin.
pub(crate) struct Rival {
    pub(crate) name: &'static str,
    pub(crate) caller: Process,
    /// Where callers come in, and where servers are reached.
    programs: Vec<Program>,
}

impl Rival {
    /// The most memory that was used so far, in MiB: where callers come in, and where servers are reached.
    pub(crate) fn memory(&self) -> (Option<f64>, Option<f64>) {
        let of = |program: &Program| peak(program.0.id());
        match &self.programs[..] {
            [] => (None, None),
            // The hub is in the caller.
            [agent] if self.name == IN_PROCESS => (self.caller.peak(), of(agent)),
            [first, rest @ ..] => (of(first), rest.first().and_then(of)),
        }
    }
}

pub(crate) const DIRECT: &str = "direct";
pub(crate) const NGINX: &str = "nginx";
pub(crate) const IN_PROCESS: &str = "relay, in-process";
pub(crate) const STAND_ALONE: &str = "relay, stand-alone";
pub(crate) const RATHOLE: &str = "rathole";
pub(crate) const BORE: &str = "bore";
pub(crate) const SNYK: &str = "snyk-broker";

impl Scene<'_> {
    /// Starts `name`, and waits until the origin answers. What comes in place of it says why it is left out.
    pub(crate) fn start(&self, name: &'static str) -> std::result::Result<Rival, String> {
        let rival = match name {
            NGINX => self.nginx(),
            IN_PROCESS => self.in_process(),
            STAND_ALONE => self.stand_alone(),
            RATHOLE => self.rathole(),
            BORE => self.bore(),
            SNYK => self.snyk(),
            _ => self.caller(DIRECT, self.origin, Vec::new()).map(Some),
        };
        let mut rival =
            rival.map_err(|error| error.to_string())?.ok_or("it is not installed, or cannot do that")?;
        match rival.caller.ask("ready") {
            Ok((answer, _)) if answer == "ok" => Ok(rival),
            Ok((answer, _)) => Err(answer),
            Err(error) => Err(error.to_string()),
        }
    }

    fn caller(&self, name: &'static str, url: &str, programs: Vec<Program>) -> Result<Rival> {
        let caller = self.process(&["direct", url])?;
        Ok(Rival { name, caller, programs })
    }

    fn process(&self, args: &[&str]) -> Result<Process> {
        let certificates = self.certificates.map(Path::to_string_lossy);
        let args: Vec<&str> = args.iter().copied().chain(certificates.as_deref()).collect();
        Process::start(CALLER, &args)
    }

    fn nginx(&self) -> Result<Option<Rival>> {
        let Some(nginx) = installed("nginx") else { return Ok(None) };
        let (port, folder) = (free_port()?, self.folder.join(NGINX));
        std::fs::create_dir_all(&folder)?;
        let (listen, scheme) = match self.certificates {
            None => (format!("listen 127.0.0.1:{port};"), "http"),
            Some(of) => (
                format!(
                    "listen 127.0.0.1:{port} ssl; ssl_certificate {}; ssl_certificate_key {};",
                    of.join(CERTIFICATE).display(),
                    of.join(KEY).display()
                ),
                "https",
            ),
        };
        let authority = self.origin.split_once("://").map_or("", |(_, authority)| authority);
        let mut config =
            "daemon off; master_process off; pid pid; error_log log; events { worker_connections 1024; }\n\
             http { access_log off; keepalive_requests 100000000; proxy_max_temp_file_size 0; client_max_body_size 0;\n"
                .to_owned();
        for kind in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"] {
            let _ = writeln!(config, "{kind}_temp_path {kind};");
        }
        let _ = writeln!(
            config,
            "upstream origin {{ server {authority}; keepalive 128; keepalive_requests 100000000; }}\n\
             server {{ {listen} location / {{ proxy_pass {scheme}://origin; proxy_http_version 1.1;\n\
             proxy_set_header Connection \"\"; proxy_request_buffering off; }} }} }}"
        );
        std::fs::write(folder.join("conf"), config)?;
        let mut command = Command::new(nginx);
        command.args(["-e", "log", "-c", "conf", "-p"]).arg(&folder);
        let program = self.run(NGINX, &mut command)?;
        self.caller(NGINX, &format!("{scheme}://127.0.0.1:{port}"), vec![program]).map(Some)
    }

    fn in_process(&self) -> Result<Option<Rival>> {
        let mut caller = self.process(&["in-process", self.origin])?;
        let hub = caller.line()?;
        Ok(Some(Rival { name: IN_PROCESS, caller, programs: vec![self.agent(&hub)?] }))
    }

    fn stand_alone(&self) -> Result<Option<Rival>> {
        let tls = match self.certificates {
            None => "danger_plain_http = true".to_owned(),
            Some(of) => {
                format!("tls = {{ certificate = {:?}, key = {:?} }}", of.join(CERTIFICATE), of.join(KEY))
            }
        };
        let (name, key) = AGENT;
        let config = format!(
            "{tls}\n[[agent]]\nname = \"{name}\"\nkeys = [\"{}\"]\n\
             [[service]]\nname = \"benchmark\"\nagents = [\"{name}\"]\nkeys = [\"{}\"]\n",
            KeyHash::of(key),
            KeyHash::of(SERVICE)
        );
        let file = self.folder.join("hub.toml");
        std::fs::write(&file, config)?;
        let mut hub = Command::new(program("scm-hub"));
        hub.args(["serve", "--listen", "127.0.0.1:0", "--config"]).arg(file);
        let (hub, url) = self.run_until_ready("hub", &mut hub)?;
        let url = url["url"].as_str().ok_or_else(|| Error::other("the hub says no URL"))?.to_owned();
        let caller = self.process(&["hub", self.origin, &url])?;
        Ok(Some(Rival { name: STAND_ALONE, caller, programs: vec![hub, self.agent(&url)?] }))
    }

    /// An agent at the end of the wire.
    fn agent(&self, hub: &str) -> Result<Program> {
        let key = self.folder.join("accessKey");
        std::fs::write(&key, AGENT.1)?;
        let (scheme, address) = hub.split_once("://").ok_or_else(|| Error::other("no URL"))?;
        let mut agent = Command::new(program("scm-agent"));
        agent
            .args(["run", "--hub", &format!("{scheme}://{}", self.wire(address)?), "--access-key-file"])
            .arg(key);
        agent.args(["--allow", &format!("{}=any", self.origin)]);
        match self.certificates {
            None => agent.arg("--danger-plain-http"),
            Some(of) => agent.arg("--ca-file").arg(of.join(AUTHORITY)),
        };
        Ok(self.run_until_ready("agent", &mut agent)?.0)
    }

    fn rathole(&self) -> Result<Option<Rival>> {
        let Some(rathole) = installed("rathole") else { return Ok(None) };
        let (control, port) = (free_port()?, free_port()?);
        let (server, client) = match self.certificates {
            None => (String::new(), String::new()),
            Some(of) => (
                format!(
                    "[server.transport]\ntype = \"tls\"\n[server.transport.tls]\npkcs12 = {:?}\npkcs12_password = \"1\"\n",
                    pkcs12(of)?
                ),
                format!(
                    "[client.transport]\ntype = \"tls\"\n[client.transport.tls]\ntrusted_root = {:?}\n\
                     hostname = \"localhost\"\n",
                    of.join(AUTHORITY)
                ),
            ),
        };
        let server = format!(
            "[server]\nbind_addr = \"127.0.0.1:{control}\"\ndefault_token = \"1\"\n{server}\
             [server.services.origin]\nbind_addr = \"127.0.0.1:{port}\"\n"
        );
        let (scheme, authority) = self.origin.split_once("://").ok_or_else(|| Error::other("no URL"))?;
        let remote = self.wire(&format!("127.0.0.1:{control}"))?;
        let client = format!(
            "[client]\nremote_addr = \"{remote}\"\ndefault_token = \"1\"\n{client}\
             [client.services.origin]\nlocal_addr = \"{authority}\"\n"
        );
        let mut programs = Vec::new();
        for (end, config) in [("server", server), ("client", client)] {
            let file = self.folder.join(format!("rathole-{end}.toml"));
            std::fs::write(&file, config)?;
            let log = format!("rathole-{end}");
            programs.push(self.run(&log, Command::new(&rathole).arg(format!("--{end}")).arg(file))?);
        }
        self.caller(RATHOLE, &format!("{scheme}://127.0.0.1:{port}"), programs).map(Some)
    }

    /// It has no TLS.
    fn bore(&self) -> Result<Option<Rival>> {
        let Some(bore) = installed("bore").filter(|_| self.certificates.is_none()) else { return Ok(None) };
        let port = free_port()?.to_string();
        let server = ["server", "--bind-addr", "127.0.0.1", "--min-port", &port, "--max-port", &port];
        let server = self.run("bore-server", Command::new(&bore).args(server))?;
        let address = self.origin.rsplit_once('/').map_or("", |(_, address)| address);
        let (host, origin) = address.split_once(':').ok_or_else(|| Error::other("no port"))?;
        // It gives up where nobody listens yet.
        wait_for(7835);
        let client = ["local", origin, "--local-host", host, "--to", "127.0.0.1", "--port", &port];
        let client = self.run("bore-client", Command::new(&bore).args(client))?;
        self.caller(BORE, &format!("http://127.0.0.1:{port}"), vec![server, client]).map(Some)
    }

    fn snyk(&self) -> Result<Option<Rival>> {
        let broker = here("../.ci/cache/rivals/node_modules/snyk-broker/dist/cli/index.js");
        if self.certificates.is_some() || !broker.exists() {
            return Ok(None);
        }
        let private = ["GET", "PUT"]
            .map(|method| serde_json::json!({ "method": method, "path": "/*", "origin": self.origin }));
        let rules = serde_json::json!({ "public": [{ "method": "any", "path": "/*" }], "private": private });
        let accept = self.folder.join("accept.json");
        std::fs::write(&accept, rules.to_string())?;
        let (server, client) = (free_port()?, free_port()?);
        let url = format!("http://127.0.0.1:{server}");
        let node = |end: &str, port: u16| {
            let mut command = Command::new("node");
            command.arg(&broker).args([end, "--port", &port.to_string()]).current_dir(self.folder);
            command.env("ACCEPT", &accept).env("LOG_LEVEL", "fatal").envs([
                ("REMOTE_WORKLOAD_NAME", "BrokerWorkload"),
                ("REMOTE_WORKLOAD_MODULE_PATH", "../broker-workload/websocketRequests"),
                ("CLIENT_WORKLOAD_NAME", "BrokerClientRequestWorkload"),
                ("CLIENT_WORKLOAD_MODULE_PATH", "../broker-workload/clientLocalRequests"),
            ]);
            command
        };
        let first = self.run("snyk-server", &mut node("server", server))?;
        wait_for(server);
        let mut second = node("client", client);
        second.env("BROKER_TOKEN", TOKEN).env("BROKER_CLIENT_URL", format!("http://127.0.0.1:{client}"));
        second.env("BROKER_SERVER_URL", &url).env("API_BASE_URL", &url);
        for check in ["IPV6_CONNECTIVITY_CHECK_ENABLED", "PREFLIGHT_CHECKS_ENABLED", "BROKER_HA_MODE_ENABLED"]
        {
            second.env(check, "false");
        }
        let second = self.run("snyk-client", &mut second)?;
        self.caller(SNYK, &format!("{url}/broker/{TOKEN}"), vec![first, second]).map(Some)
    }

    /// Where the far end dials, to reach `address` over the wire.
    fn wire(&self, address: &str) -> Result<String> {
        if self.round_trip.is_zero() {
            return Ok(address.to_owned());
        }
        let proxy = self.runtime.block_on(Proxy::start(address.to_owned()))?;
        proxy.reset(self.round_trip);
        Ok(proxy.address().to_owned())
    }

    fn run(&self, name: &str, command: &mut Command) -> Result<Program> {
        let log = File::create(self.folder.join(format!("{name}.log")))?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        Ok(Program(command.spawn()?))
    }

    /// One of ours, and the line that it prints when it is ready.
    fn run_until_ready(&self, name: &str, command: &mut Command) -> Result<(Program, serde_json::Value)> {
        let log = File::create(self.folder.join(format!("{name}.log")))?;
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).spawn()?;
        let out = child.stdout.take();
        let program = Program(child);
        let mut line = String::new();
        if let Some(out) = out {
            std::io::BufRead::read_line(&mut std::io::BufReader::new(out), &mut line)?;
        }
        Ok((program, serde_json::from_str(&line)?))
    }
}

/// A program that runs until this is dropped.
pub(crate) struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A peer in the cache, or a program of this machine.
fn installed(name: &str) -> Option<PathBuf> {
    let mut places = vec![here("../.ci/cache/rivals/bin")];
    #[expect(clippy::disallowed_methods, reason = "a program looks where programs are")]
    let path = std::env::var_os("PATH").unwrap_or_default();
    places.extend(std::env::split_paths(&path));
    places.push("/usr/sbin".into());
    places.into_iter().map(|place| place.join(name)).find(|path| path.exists())
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// Until somebody listens, for twenty seconds; whoever needs the port says what is wrong with it.
fn wait_for(port: u16) {
    for _ in 0..1000 {
        if std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The certificate in the form that OpenSSL's friends read.
fn pkcs12(certificates: &Path) -> Result<PathBuf> {
    let out = certificates.join("server.p12");
    let made = Command::new("openssl")
        .args(["pkcs12", "-export", "-passout", "pass:1", "-in"])
        .arg(certificates.join(CERTIFICATE))
        .arg("-inkey")
        .arg(certificates.join(KEY))
        .arg("-out")
        .arg(&out)
        .output()?;
    if made.status.success() { Ok(out) } else { Err(Error::other("openssl made no PKCS#12 file")) }
}
