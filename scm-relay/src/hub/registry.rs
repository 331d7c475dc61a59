//! Which agents are here.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use scm_core::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;

use super::HubSettings;
use crate::body::Ledger;
use crate::keys::{AgentName, KeyHash, Keys};
use crate::tunnel::Tunnel;

/// All agents that were ever here, and their tunnels.
#[derive(Debug)]
pub(crate) struct Registry {
    agents: Mutex<HashMap<AgentName, Agent>>,
    /// Agents that were sent away since their last tunnel, and why.
    refused: Mutex<HashMap<AgentName, String>>,
    /// By agent, from before its first tunnel is one.
    shares: Mutex<HashMap<AgentName, Share>>,
    /// Counts arrivals.
    arrivals: watch::Sender<u64>,
}

/// What all tunnels of an agent share.
#[derive(Clone, Debug)]
pub(crate) struct Share {
    pub(crate) ledger: Arc<Ledger>,
    /// One for each request in flight.
    pub(crate) places: Arc<Semaphore>,
}

#[derive(Debug)]
struct Agent {
    members: Vec<Member>,
    last_seen: SystemTime,
}

/// One tunnel of an agent.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) id: u64,
    pub(crate) tunnel: Tunnel,
    pub(crate) version: String,
    pub(crate) since: SystemTime,
    key: KeyHash,
}

/// Why there is no tunnel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Absent {
    NeverSeen,
    Gone(SystemTime),
    /// It is there, and the hub does not let it in: why.
    Refused(String),
}

/// How an agent stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct AgentStatus {
    /// Its name.
    pub name: AgentName,
    /// Tunnels that are open now.
    pub tunnels: usize,
    /// Requests whose answers are not over.
    pub in_flight: usize,
    /// When the oldest of its tunnels was opened.
    pub since: Option<Timestamp>,
    /// When it was here last: now, where a tunnel is open. Nothing, where it never was.
    pub last_seen: Option<Timestamp>,
    /// The versions it speaks of itself with, each once.
    pub versions: Vec<String>,
    /// Why its last tunnel was not taken, if it was not: it is too old.
    #[serde(default)]
    pub refused: Option<String>,
}

impl AgentStatus {
    pub(crate) fn never(name: AgentName) -> Self {
        Self {
            name,
            tunnels: 0,
            in_flight: 0,
            since: None,
            last_seen: None,
            versions: Vec::new(),
            refused: None,
        }
    }
}

impl Registry {
    pub(crate) fn new() -> Self {
        Self {
            agents: Mutex::default(),
            refused: Mutex::default(),
            shares: Mutex::default(),
            arrivals: watch::channel(0).0,
        }
    }

    /// Keeps why an agent was sent away, for those who ask for it.
    pub(crate) fn refuse(&self, name: &AgentName, why: &str) {
        self.refused().insert(name.clone(), why.to_owned());
    }

    /// What all tunnels of an agent share.
    pub(crate) fn share(&self, name: &AgentName, settings: &HubSettings) -> Share {
        let mut shares = self.shares.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(share) = shares.get(name) {
            return share.clone();
        }
        let ledger = Ledger::new(settings.unread, settings.unread_for);
        let share = Share {
            ledger,
            places: Arc::new(Semaphore::new(settings.in_flight.min(Semaphore::MAX_PERMITS))),
        };
        shares.insert(name.clone(), share.clone());
        share
    }

    /// Takes a tunnel in, for as long as what comes back is held.
    pub(crate) fn join(
        self: &Arc<Self>,
        name: &AgentName,
        key: KeyHash,
        version: String,
        tunnel: Tunnel,
    ) -> Joined {
        let mut id = 0;
        self.arrivals.send_modify(|count| {
            *count += 1;
            id = *count;
        });
        let since = SystemTime::now();
        let member = Member { id, key, version, since, tunnel };
        {
            let mut agents = self.agents();
            let agent =
                agents.entry(name.clone()).or_insert_with(|| Agent { members: Vec::new(), last_seen: since });
            agent.members.push(member);
        }
        self.refused().remove(name);
        // Again, now that it can be found.
        self.arrivals.send_modify(|_| {});
        Joined { registry: Arc::clone(self), name: name.clone(), id }
    }

    /// The tunnel of `name` with the least in flight that takes work and is not among `except`; one that will go soon only where
    /// there is no other.
    pub(crate) fn pick(&self, name: &AgentName, except: &[u64]) -> Result<Member, Absent> {
        let refused = || self.refused().get(name).cloned().map(Absent::Refused);
        let agents = self.agents();
        let agent = agents.get(name).ok_or_else(|| refused().unwrap_or(Absent::NeverSeen))?;
        let usable = agent.members.iter().filter(|member| !member.tunnel.is_draining());
        usable
            .filter(|member| !except.contains(&member.id))
            .min_by_key(|member| (member.tunnel.is_retiring(), member.tunnel.in_flight()))
            .cloned()
            .ok_or_else(|| refused().unwrap_or(Absent::Gone(agent.last_seen)))
    }

    /// Ends when there is a tunnel of `name` that came after `id` and takes work.
    pub(crate) async fn successor(&self, name: &AgentName, id: u64) {
        let mut arrivals = self.arrivals.subscribe();
        loop {
            let found = self.agents().get(name).is_some_and(|agent| {
                agent.members.iter().any(|member| member.id > id && !member.tunnel.is_draining())
            });
            if found {
                return;
            }
            if arrivals.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// As [`pick`](Self::pick), once there is one, up to `patience`. For a second try, one that will go soon is not good enough
    /// while another may come.
    pub(crate) async fn wait(
        &self,
        name: &AgentName,
        except: &[u64],
        patience: Duration,
    ) -> Result<Member, Absent> {
        let mut arrivals = self.arrivals.subscribe();
        let found = async {
            loop {
                match self.pick(name, except) {
                    Ok(member) if except.is_empty() || !member.tunnel.is_retiring() => return member,
                    _ => {}
                }
                if arrivals.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        };
        match timeout(patience, found).await {
            Ok(member) => Ok(member),
            Err(_) => self.pick(name, except),
        }
    }

    /// Ends the tunnels whose keys are not among `keys`.
    pub(crate) fn revoke(&self, keys: &Keys) {
        for (name, agent) in self.agents().iter() {
            for member in agent.members.iter().filter(|member| !keys.holds(name, member.key)) {
                member.tunnel.stop();
            }
        }
    }

    /// Ends all tunnels.
    pub(crate) fn stop(&self) {
        self.revoke(&Keys::new());
    }

    pub(crate) fn status(&self) -> Vec<AgentStatus> {
        // One after the other: `pick` holds both, the other way round.
        let refused = self.refused().clone();
        let agents = self.agents();
        let mut all: Vec<_> = agents
            .iter()
            .map(|(name, agent)| {
                let mut versions: Vec<_> =
                    agent.members.iter().map(|member| member.version.clone()).collect();
                versions.sort_unstable();
                versions.dedup();
                let here = !agent.members.is_empty();
                AgentStatus {
                    name: name.clone(),
                    tunnels: agent.members.len(),
                    in_flight: agent.members.iter().map(|member| member.tunnel.in_flight()).sum(),
                    since: agent.members.iter().map(|member| member.since.into()).min(),
                    last_seen: Some(if here { SystemTime::now() } else { agent.last_seen }.into()),
                    versions,
                    refused: refused.get(name).cloned(),
                }
            })
            .collect();
        let strangers = refused.iter().filter(|(name, _)| !agents.contains_key(*name));
        all.extend(strangers.map(|(name, why)| AgentStatus {
            refused: Some(why.clone()),
            ..AgentStatus::never(name.clone())
        }));
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    fn refused(&self) -> MutexGuard<'_, HashMap<AgentName, String>> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn agents(&self) -> MutexGuard<'_, HashMap<AgentName, Agent>> {
        self.agents.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A tunnel's place among those that can be used.
#[derive(Debug)]
pub(crate) struct Joined {
    registry: Arc<Registry>,
    name: AgentName,
    pub(crate) id: u64,
}

impl Drop for Joined {
    fn drop(&mut self) {
        if let Some(agent) = self.registry.agents().get_mut(&self.name) {
            agent.members.retain(|member| member.id != self.id);
            agent.last_seen = SystemTime::now();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn who_looks_holds_up_nobody_who_asks() {
        let registry = Arc::new(Registry::new());
        let name: AgentName = "acme".parse().unwrap();
        registry.refuse(&name, "too old");
        let (done, ended) = mpsc::channel();
        let asking = {
            let registry = Arc::clone(&registry);
            move || (0..200_000).for_each(|_| assert!(registry.pick(&name, &[]).is_err()))
        };
        let looking = move || (0..200_000).for_each(|_| assert_eq!(registry.status().len(), 1));
        let works: [Box<dyn FnOnce() + Send>; 2] = [Box::new(asking), Box::new(looking)];
        for work in works {
            let done = done.clone();
            std::thread::spawn(move || {
                work();
                done.send(()).unwrap();
            });
        }
        for _ in 0..2 {
            ended.recv_timeout(Duration::from_secs(60)).unwrap();
        }
    }
}
