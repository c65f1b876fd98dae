//! The lines after `start`.

use std::str::FromStr;

use klusterkite_core::configuration::Trigger;
use klusterkite_core::plan::resources::{ResourceKey, Side};
use klusterkite_core::plan::rollout::Target;
use klusterkite_wire::ConfigurationId;

use super::{Command, Look, SETTLE_TICKS_MAX};
use crate::cluster::{Asked, Fault, Mutation, NodeAct, Setup};

/// Settles without a word.
pub(super) const CALM: &str = "calm";

/// Reads a line after the start of a scenario.
///
/// # Errors
///
/// Fails with what the line should be.
pub fn command(line: &str, setup: &Setup) -> Result<Command, String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    if let Some(command) = look(&words) {
        return Ok(command);
    }
    if let Some(asked) = asked(&words, setup)? {
        return Ok(Command::Ask(asked));
    }
    if let Some(fault) = fault(&words, setup)? {
        return Ok(Command::Break(fault));
    }
    Ok(match words.as_slice() {
        ["wait", seconds] => Command::Tick(parsed(seconds, "seconds")?),
        ["settle" | CALM] => Command::Settle(SETTLE_TICKS_MAX),
        ["settle", ticks] => Command::Settle(parsed(ticks, "seconds")?),
        ["set", name, "-"] => Command::Set(key(name)?, None),
        ["set", name, point] => Command::Set(key(name)?, Some(parsed(point, "a point")?)),
        ["mutate", name] => Command::Mutate(mutation(name)?),
        ["all", "works"] => Command::AllWorks,
        ["rest"] => Command::Rest,
        _ => return Err("no command; see docs/proof.md".to_owned()),
    })
}

fn look(words: &[&str]) -> Option<Command> {
    let look = match words {
        ["show"] => Look::Show,
        ["waits"] => Look::Waits,
        ["operations"] => Look::Operations,
        ["phases"] => Look::Phases,
        ["quiet"] => Look::Trace(false),
        ["loud"] => Look::Trace(true),
        _ => return None,
    };
    Some(Command::Look(look))
}

fn asked(words: &[&str], setup: &Setup) -> Result<Option<Asked>, String> {
    let node = |name: &str, act| Ok::<_, String>(Asked::Node(container(name, setup)?, act));
    let asked = match words {
        ["migrate", to, modes @ ..] => Asked::Migrate {
            to: ConfigurationId(parsed(to, "the number of a configuration")?),
            automatic: modes.contains(&"automatic"),
            rollback: modes.contains(&"rollback"),
            retry: modes.contains(&"retry"),
        },
        ["cancel"] => Asked::Cancel,
        ["finish"] => Asked::Finish,
        ["pause"] => Asked::Pause,
        ["resume"] => Asked::Resume,
        ["rollback"] => Asked::Rollback,
        ["recheck"] => Asked::Recheck,
        ["nodes", to] => Asked::Nodes(side(to)?),
        ["move", moves @ ..] => {
            let mut asked = Vec::new();
            for pair in moves.chunks(2) {
                let [name, to] = pair else {
                    return Err("move RESOURCE source|destination …".to_owned());
                };
                asked.push((key(name)?, side(to)?));
            }
            Asked::Resources(asked)
        }
        ["repair", names @ ..] => {
            let keys: Result<_, String> = names.iter().map(|name| key(name)).collect();
            Asked::Repair(keys?)
        }
        ["stable", id] => configuration(id, Trigger::SetStable(true))?,
        ["unstable", id] => configuration(id, Trigger::SetStable(false))?,
        ["edit", id] => configuration(id, Trigger::Update)?,
        ["delete", id] => configuration(id, Trigger::Delete)?,
        ["obsolete", id] => Asked::SetObsolete(ConfigurationId(parsed(id, "a number")?)),
        ["restart", name] => node(name, NodeAct::Restart { force: false })?,
        ["restart", name, "force"] => node(name, NodeAct::Restart { force: true })?,
        ["drain", name] => node(name, NodeAct::Drain { force: false })?,
        ["drain", name, "force"] => node(name, NodeAct::Drain { force: true })?,
        ["cordon", name] => node(name, NodeAct::Cordon)?,
        ["uncordon", name] => node(name, NodeAct::Uncordon)?,
        _ => return Ok(None),
    };
    Ok(Some(asked))
}

fn fault(words: &[&str], setup: &Setup) -> Result<Option<Fault>, String> {
    let index = |name: &str| container(name, setup);
    let point = |name: &str, point: &str, on| {
        Ok::<_, String>(Fault::Point(key(name)?, parsed(point, "a point")?, on))
    };
    let fault = match words {
        ["manager", "crash"] => Fault::ManagerCrash,
        ["manager", "start"] => Fault::ManagerStart,
        ["manager", "failover"] => Fault::Failover,
        ["executor", "crash"] => Fault::ExecutorCrash,
        ["crash", name] => Fault::Crash(index(name)?),
        ["kill", name] => Fault::Kill(index(name)?),
        ["reset", name] => Fault::Reset(index(name)?),
        ["clock", name, seconds] => Fault::Clock(index(name)?, parsed(seconds, "seconds")?),
        ["off", name] => Fault::Off(index(name)?),
        ["on", name] => Fault::On(index(name)?),
        ["cut", name] => Fault::Cut(index(name)?),
        ["heal", name] => Fault::Heal(index(name)?),
        ["deaf", name] => Fault::Deaf(index(name)?),
        ["ghost", name] => Fault::Ghost(index(name)?),
        ["failing", text] => Fault::Failing(target(text)?, true),
        ["works", text] => Fault::Failing(target(text)?, false),
        ["unfetchable", text] => Fault::Unfetchable(target(text)?, true),
        ["fetchable", text] => Fault::Unfetchable(target(text)?, false),
        ["broken", name, at] => point(name, at, true)?,
        ["repaired", name, at] => point(name, at, false)?,
        ["lying", name] => Fault::Lying(key(name)?, true),
        ["honest", name] => Fault::Lying(key(name)?, false),
        ["hanging", name] => Fault::Hanging(key(name)?, true),
        ["answering", name] => Fault::Hanging(key(name)?, false),
        ["unreadable", name] => Fault::Unreadable((*name).to_owned(), true),
        ["readable", name] => Fault::Unreadable((*name).to_owned(), false),
        _ => return Ok(None),
    };
    Ok(Some(fault))
}

/// Reads a value, or says what it should be.
pub(super) fn parsed<T: FromStr>(text: &str, what: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("`{text}` is not {what}"))
}

/// Reads `template:migrator:resource`.
pub(super) fn key(text: &str) -> Result<ResourceKey, String> {
    let parts: Vec<&str> = text.split(':').collect();
    let [template, migrator, resource] = parts.as_slice() else {
        return Err(format!("`{text}` is not template:migrator:resource"));
    };
    Ok(ResourceKey {
        template: parsed(template, "a migrator template")?,
        migrator: parsed(migrator, "a migrator")?,
        resource: parsed(resource, "a resource")?,
    })
}

fn configuration(id: &str, trigger: Trigger) -> Result<Asked, String> {
    let id = ConfigurationId(parsed(id, "the number of a configuration")?);
    Ok(Asked::Configuration(id, trigger))
}

fn side(text: &str) -> Result<Side, String> {
    match text.trim_end_matches(',') {
        "source" => Ok(Side::Source),
        "destination" => Ok(Side::Destination),
        other => Err(format!("`{other}` is not source or destination")),
    }
}

/// Reads `template@configuration`.
fn target(text: &str) -> Result<Target, String> {
    let parts = text.split_once('@');
    let (template, id) = parts.ok_or_else(|| format!("`{text}` is not template@configuration"))?;
    Ok(Target {
        template: parsed(template, "a template")?,
        configuration_id: ConfigurationId(parsed(id, "a number")?),
    })
}

fn container(name: &str, setup: &Setup) -> Result<usize, String> {
    let index = setup.containers.iter().position(|(other, _)| other == name);
    index.ok_or_else(|| format!("there is no container `{name}`"))
}

fn mutation(name: &str) -> Result<Mutation, String> {
    let mut all = Mutation::ALL.iter().map(|(mutation, _)| *mutation);
    let known = all.find(|mutation| format!("{mutation:?}") == name);
    known.ok_or_else(|| format!("`{name}` is no mutation"))
}
