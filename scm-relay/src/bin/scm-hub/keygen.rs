//! `scm-hub keygen`.

use scm_core::Result;
use scm_relay::{AgentName, NewKey};
use secrecy::ExposeSecret as _;

use crate::{Keygen, print};

pub(crate) fn run(options: Keygen) -> Result<()> {
    let key = NewKey::generate()?;
    let (whose, entry) = match (options.agent, options.service) {
        (Some(agent), _) => {
            let name: AgentName = agent.parse()?;
            (
                format!("agent {name}: it goes into accessKey, or the file of --access-key-file"),
                entry("agent", &quoted(name.as_str())),
            )
        }
        (None, service) => {
            let service = service.unwrap_or_default();
            let agents =
                options.agents.iter().map(|name| name.trim().parse()).collect::<Result<Vec<AgentName>>>()?;
            let agents = agents.iter().map(|name| quoted(name.as_str())).collect::<Vec<_>>().join(", ");
            let whose = format!("service {service:?}: it goes into Scm-Hub-Key");
            (whose, format!("{}agents = [{agents}]\n", entry("service", &quoted(&service))))
        }
    };
    // All but the key itself can go into hub.toml as it is.
    print(&format!(
        "# The key of the {whose}. It is shown this once.\n{}\n\n# For hub.toml, which has its hash only:\n{entry}keys = [\"{}\"]\n",
        key.secret.expose_secret(),
        key.hash
    ))
}

fn entry(kind: &str, name: &str) -> String {
    format!("[[{kind}]]\nname = {name}\n")
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}
