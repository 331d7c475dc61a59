//! `scm-hub keygen`.

use scm_core::Result;
use scm_relay::{AgentName, NewKey};
use secrecy::ExposeSecret as _;

use crate::{Keygen, print};

pub(crate) fn run(options: Keygen) -> Result<()> {
    let key = NewKey::generate()?;
    let (whose, entry) = match options.agent {
        Some(agent) => (
            format!("agent {agent}: it goes into accessKey, or the file of --access-key-file"),
            format!("[[agent]]\nname = {}\n", quoted(agent.as_str())),
        ),
        None => {
            let name = quoted(&options.service.unwrap_or_default());
            let agents = options.agents.iter().map(AgentName::as_str).map(quoted).collect::<Vec<_>>();
            (
                format!("service {name}: it goes into Scm-Hub-Key"),
                format!("[[service]]\nname = {name}\nagents = [{}]\n", agents.join(", ")),
            )
        }
    };
    // All but the key itself can go into hub.toml as it is.
    print(&format!(
        "# The key of the {whose}. It is shown this once.\n{}\n\n# For hub.toml, which has its hash only:\n{entry}keys = [\"{}\"]\n",
        key.secret.expose_secret(),
        key.hash
    ))
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}
