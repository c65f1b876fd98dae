//! Containers: a launcher and the node that it runs, one step at a time.

use std::collections::VecDeque;

use klusterkite_core::plan::rollout::{NodeStatus, Target};
use klusterkite_core::time::Timestamp;
use klusterkite_wire::{ContainerType, Incarnation, OrderId, Runtime};

use super::store::{OrderKind, OrderRow};
use super::{Cluster, ShownTarget, say};

/// A container.
#[derive(Debug, Clone)]
pub(super) struct Container {
    pub(super) kind: ContainerType,
    pub(super) runtime: Runtime,
    /// It has a network.
    pub(super) linked: bool,
    /// It does not hear the next answer of the manager.
    pub(super) deaf: bool,
    /// Of the run that is, or that is about to be.
    pub(super) incarnation: Incarnation,
    pub(super) life: Life,
    /// What became ready last: the release to go back to, and to start when no manager answers.
    pub(super) good: Option<Target>,
    /// What ran before ended by itself, and the manager has not heard of it.
    pub(super) crashed: bool,
    /// What ran before: a late word of it may still be on its way.
    pub(super) ghost: Option<Target>,
    /// What a launcher that was killed left behind.
    pub(super) stray: Option<Stray>,
    /// The newest leader that it heard of.
    pub(super) epoch: u64,
    pub(super) inbox: VecDeque<Message>,
}

/// A node that runs on without its launcher, until the next launcher ends it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Stray {
    pub(super) incarnation: Incarnation,
    pub(super) target: Target,
    pub(super) status: NodeStatus,
    pub(super) until: Timestamp,
}

/// What a container is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Life {
    Off,
    Asking { at: Timestamp },
    Fetching { target: Target, until: Timestamp },
    Up(Up),
}

/// A run of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Up {
    pub(super) target: Target,
    pub(super) status: NodeStatus,
    pub(super) until: Timestamp,
    /// It has a token of the manager.
    pub(super) known: bool,
    pub(super) connected: bool,
    pub(super) prefetched: Option<Target>,
    pub(super) prefetching: Option<(OrderId, Target, Timestamp)>,
    /// It was told to stop, and to become that.
    pub(super) stops: Stops,
    /// It was started by an order: when it fails, what ran before comes back.
    pub(super) before: Option<Target>,
    /// A start that failed and has to be reported.
    pub(super) failure: Option<Target>,
}

/// What follows when a node ends.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Stops {
    /// It was not told to stop.
    No,
    /// Its container asks.
    Ask,
    /// This comes next.
    Become(Target),
}

/// An order on its way to a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) epoch: u64,
    pub(super) order: OrderId,
    pub(super) incarnation: Incarnation,
    pub(super) kind: OrderKind,
}

impl Message {
    pub(super) fn new(epoch: u64, order: &OrderRow) -> Self {
        Self {
            epoch,
            order: order.id,
            incarnation: order.incarnation,
            kind: order.kind.clone(),
        }
    }
}

impl Container {
    pub(super) fn new(kind: ContainerType, runtime: Runtime) -> Self {
        Self {
            kind,
            runtime,
            linked: true,
            deaf: false,
            incarnation: Incarnation(1),
            life: Life::Asking { at: Timestamp(0) },
            good: None,
            crashed: false,
            ghost: None,
            stray: None,
            epoch: 0,
            inbox: VecDeque::new(),
        }
    }

    pub(super) fn send(&mut self, message: Message) {
        self.inbox.push_back(message);
    }

    /// Ends the link; what is on its way is lost.
    pub(super) fn disconnect(&mut self) {
        self.inbox.clear();
        if let Life::Up(up) = &mut self.life {
            up.connected = false;
        }
    }

    /// Returns the incarnation that can renew its lease now.
    pub(super) fn speaks(&self) -> Option<Incarnation> {
        match &self.life {
            Life::Up(up) if up.connected && self.linked => Some(self.incarnation),
            _ => None,
        }
    }

    pub(super) fn up(&self) -> Option<&Up> {
        match &self.life {
            Life::Up(up) => Some(up),
            Life::Off | Life::Asking { .. } | Life::Fetching { .. } => None,
        }
    }
}

impl Cluster {
    pub(super) fn container_hears(&self, index: usize) -> bool {
        let container = &self.containers[index];
        container.linked && container.speaks().is_some() && !container.inbox.is_empty()
    }

    /// Tells whether the container has something to do now.
    pub(super) fn container_is_due(&self, index: usize) -> bool {
        let container = &self.containers[index];
        let reaches_manager = container.linked && self.leader.is_some();
        match &container.life {
            Life::Off => false,
            Life::Asking { at } => *at <= self.now && (reaches_manager || container.good.is_some()),
            Life::Fetching { .. } => true,
            Life::Up(up) => {
                let speaks_first = reaches_manager && !up.connected;
                let prefetched = up.prefetching.as_ref();
                let prefetched =
                    prefetched.is_some_and(|(_, _, until)| *until <= self.now && up.connected);
                let goes_on = match up.status {
                    NodeStatus::Starting
                    | NodeStatus::Draining
                    | NodeStatus::Stopping
                    | NodeStatus::Failed => up.until <= self.now,
                    _ => false,
                };
                speaks_first || prefetched || goes_on
            }
        }
    }

    pub(super) fn container_step(&mut self, index: usize) {
        match self.containers[index].life.clone() {
            Life::Off => {}
            Life::Asking { .. } => self.launcher_asks(index),
            Life::Fetching { target, until } => {
                if until > self.now {
                    if self.containers[index].linked {
                        self.progress_report(index);
                    }
                } else if self.faults.unfetchable.contains(&target) {
                    let at = self.now + self.fixed.pace.retry;
                    self.containers[index].life = Life::Fetching { target, until: at };
                } else {
                    self.start(index, target, true, None);
                }
            }
            Life::Up(up) => self.node_step(index, up),
        }
    }

    fn launcher_asks(&mut self, index: usize) {
        let container = &mut self.containers[index];
        let incarnation = container.incarnation;
        if !container.linked || self.leader.is_none() {
            // The way of a bad day: what ran last, without asking.
            if let Some(good) = container.good.clone() {
                say!(
                    self,
                    "{} finds no manager and starts {} again",
                    super::node_id(index),
                    ShownTarget(&good)
                );
                self.start(index, good, false, None);
            }
            return;
        }
        let answer = self.ask(index, incarnation);
        let retry = self.now + self.fixed.pace.retry;
        let container = &mut self.containers[index];
        if std::mem::take(&mut container.deaf) {
            container.life = Life::Asking { at: retry };
            return;
        }
        container.crashed = false;
        container.life = match answer {
            Ok(target) => Life::Fetching {
                target,
                until: self.now + self.fixed.pace.fetch,
            },
            Err(retry_after) => {
                // It was told to wait: it starts nothing, whoever is away later.
                container.good = None;
                Life::Asking {
                    at: self.now + retry_after,
                }
            }
        };
    }

    /// Starts a node; `known`: the manager gave it a token.
    fn start(&mut self, index: usize, target: Target, known: bool, before: Option<Target>) {
        let until = self.now + self.fixed.pace.start;
        // A launcher ends what the one before it left, before it starts anything.
        self.containers[index].stray = None;
        self.containers[index].life = Life::Up(Up {
            target,
            status: NodeStatus::Starting,
            until,
            known,
            connected: false,
            prefetched: None,
            prefetching: None,
            stops: Stops::No,
            before,
            failure: None,
        });
    }

    fn node_step(&mut self, index: usize, up: Up) {
        let reaches_manager = self.containers[index].linked && self.leader.is_some();
        if reaches_manager && !up.connected {
            self.node_introduces_itself(index, &up);
            return;
        }
        if let Some((order, target, until)) = up.prefetching.clone()
            && until <= self.now
            && up.connected
        {
            let done = !self.faults.unfetchable.contains(&target);
            if let Life::Up(up) = &mut self.containers[index].life {
                up.prefetching = None;
                if done {
                    up.prefetched = Some(target);
                }
            }
            self.acknowledge(index, order, done);
            return;
        }
        match up.status {
            NodeStatus::Starting => self.node_started(index, &up),
            NodeStatus::Draining => {
                let until = self.now + self.fixed.pace.stop;
                self.node_status(index, NodeStatus::Stopping, until);
            }
            NodeStatus::Stopping => self.node_ends(index, &up),
            NodeStatus::Failed => self.node_failed(index, up),
            _ => {}
        }
    }

    fn node_introduces_itself(&mut self, index: usize, up: &Up) {
        let incarnation = self.containers[index].incarnation;
        let taken_in = if up.known {
            Ok(())
        } else {
            self.take_in(index, incarnation, &up.target, up.failure.as_ref())
        };
        if std::mem::take(&mut self.containers[index].deaf) {
            return;
        }
        let answer = taken_in.and_then(|()| self.hello(index, incarnation, &up.target, up.status));
        let at = self.now + self.fixed.pace.retry;
        let container = &mut self.containers[index];
        if answer.is_ok() {
            if let Life::Up(up) = &mut container.life {
                (up.known, up.connected, up.failure) = (true, true, None);
            }
            return;
        }
        container.incarnation.0 += 1;
        container.life = Life::Asking { at };
        say!(self, "{} is fenced and stops", super::node_id(index));
    }

    fn node_status(&mut self, index: usize, status: NodeStatus, until: Timestamp) {
        let incarnation = self.containers[index].incarnation;
        let Life::Up(up) = &mut self.containers[index].life else {
            return;
        };
        (up.status, up.until) = (status, until);
        if up.connected {
            self.report(index, incarnation, status);
        }
    }

    fn node_started(&mut self, index: usize, up: &Up) {
        let until = self.now + self.fixed.pace.retry;
        if self.faults.failing.contains(&up.target) {
            self.node_status(index, NodeStatus::Failed, until);
            return;
        }
        self.containers[index].good = Some(up.target.clone());
        self.node_status(index, NodeStatus::Ready, until);
        let is_manager = self
            .release(up.target.configuration_id)
            .and_then(|release| release.node_templates.get(&up.target.template))
            .is_some_and(|template| template.is_manager);
        if is_manager && self.fixed.self_hosted && self.leader.is_none() {
            self.leader_start();
        }
    }

    /// Ends a node that was told to stop.
    fn node_ends(&mut self, index: usize, up: &Up) {
        let incarnation = self.containers[index].incarnation;
        if up.connected {
            self.bye(index, incarnation);
        }
        self.node_is_gone(index, &up.target);
        let retry = self.now;
        let container = &mut self.containers[index];
        container.ghost = Some(up.target.clone());
        container.incarnation.0 += 1;
        container.inbox.clear();
        match &up.stops {
            Stops::Become(next) => {
                let before = Some(up.target.clone());
                self.start(index, next.clone(), false, before);
            }
            Stops::No | Stops::Ask => container.life = Life::Asking { at: retry },
        }
    }

    /// What ends of the manager when its own node ends.
    pub(super) fn node_is_gone(&mut self, _index: usize, target: &Target) {
        let release = self.release(target.configuration_id);
        let template = release.and_then(|release| release.node_templates.get(&target.template));
        if self.fixed.self_hosted && template.is_some_and(|template| template.is_manager) {
            self.leader_crash();
        }
    }

    /// Goes back from a replacement that does not become ready, or asks again.
    fn node_failed(&mut self, index: usize, up: Up) {
        let at = self.now + self.fixed.pace.retry;
        self.node_is_gone(index, &up.target);
        let container = &mut self.containers[index];
        container.ghost = Some(up.target.clone());
        container.incarnation.0 += 1;
        container.disconnect();
        let Some(before) = up.before else {
            container.crashed = true;
            container.life = Life::Asking { at };
            return;
        };
        self.start(index, before, false, None);
        if let Life::Up(back) = &mut self.containers[index].life {
            back.failure = Some(up.target);
        }
    }

    pub(super) fn container_hear(&mut self, index: usize) {
        let now = self.now;
        let pace = self.fixed.pace;
        let Some(message) = self.containers[index].inbox.pop_front() else {
            return;
        };
        let container = &mut self.containers[index];
        if message.epoch < container.epoch || message.incarnation != container.incarnation {
            return;
        }
        container.epoch = message.epoch;
        let Life::Up(up) = &mut container.life else {
            return;
        };
        match message.kind {
            OrderKind::Prefetch(target) => {
                if up.prefetched.as_ref() == Some(&target) {
                    self.acknowledge(index, message.order, true);
                } else {
                    up.prefetching = Some((message.order, target, now + pace.fetch));
                }
            }
            OrderKind::Stop { target, .. } => {
                if up.stops != Stops::No {
                    return;
                }
                up.stops = target.map_or(Stops::Ask, Stops::Become);
                self.acknowledge(index, message.order, false);
                self.node_status(index, NodeStatus::Draining, now + pace.stop);
            }
        }
    }

    /// Ends the process of a node without warning; its launcher goes on.
    pub(super) fn node_crash(&mut self, index: usize) {
        let at = self.now + self.fixed.pace.retry;
        let Some(target) = self.containers[index].up().map(|up| up.target.clone()) else {
            return;
        };
        self.node_is_gone(index, &target);
        let container = &mut self.containers[index];
        container.ghost = Some(target);
        container.crashed = true;
        container.incarnation.0 += 1;
        container.disconnect();
        container.life = Life::Asking { at };
    }

    /// Kills a launcher; what it ran goes on beside the next launcher, with its old incarnation.
    pub(super) fn launcher_kill(&mut self, index: usize) {
        let at = self.now + self.fixed.pace.retry;
        let until = self.now + self.fixed.pace.orphan;
        let container = &mut self.containers[index];
        if container.life == Life::Off {
            return;
        }
        if let Life::Up(up) = &container.life {
            container.stray = up.connected.then(|| Stray {
                incarnation: container.incarnation,
                target: up.target.clone(),
                status: up.status,
                until,
            });
            container.ghost = Some(up.target.clone());
            container.crashed = true;
            let target = up.target.clone();
            self.node_is_gone(index, &target);
        }
        let container = &mut self.containers[index];
        container.inbox.clear();
        container.incarnation.0 += 1;
        container.life = Life::Asking { at };
    }

    /// Sets the clock of a container by so many seconds: what it waits for comes earlier, or later.
    pub(super) fn clock_jump(&mut self, index: usize, seconds: i64) {
        let now = self.now;
        let jumped = |at: &mut Timestamp| {
            let milliseconds = seconds.unsigned_abs().saturating_mul(1000);
            // What is over stays over.
            if *at > now {
                at.0 = if seconds < 0 {
                    at.0.saturating_add(milliseconds)
                } else {
                    at.0.saturating_sub(milliseconds)
                };
            }
        };
        match &mut self.containers[index].life {
            Life::Off => {}
            Life::Asking { at } => jumped(at),
            Life::Fetching { until, .. } => jumped(until),
            Life::Up(up) => {
                jumped(&mut up.until);
                if let Some((_, _, until)) = &mut up.prefetching {
                    jumped(until);
                }
            }
        }
    }

    /// Lets a late `hello` of the run before reach the manager.
    pub(super) fn ghost_speaks(&mut self, index: usize) {
        let container = &self.containers[index];
        let before = Incarnation(container.incarnation.0.saturating_sub(1));
        if let Some(target) = container.ghost.clone()
            && self.leader.is_some()
            && self
                .hello(index, before, &target, NodeStatus::Ready)
                .is_ok()
        {
            say!(self, "a late word of {} is heard", super::node_id(index));
        }
    }

    /// Takes the power of a container.
    pub(super) fn container_off(&mut self, index: usize) {
        if let Some(target) = self.containers[index].up().map(|up| up.target.clone()) {
            self.node_is_gone(index, &target);
        }
        let container = &mut self.containers[index];
        container.disconnect();
        container.stray = None;
        container.life = Life::Off;
    }

    /// Gives a container its power back; what its launcher wrote on disk is still there.
    pub(super) fn container_on(&mut self, index: usize) {
        let now = self.now;
        let container = &mut self.containers[index];
        if container.life == Life::Off {
            container.incarnation.0 += 1;
            container.life = Life::Asking { at: now };
        }
    }
}
