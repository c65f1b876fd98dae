use klusterkite_wire::link::OrderKind;

use super::*;

const LEASE: u32 = 12;
const HEARTBEAT: u32 = 4;

/// A link with a clock, and what it did.
struct Bench {
    link: LinkState,
    now: Duration,
}

impl Bench {
    fn new(urls: &[&str]) -> Self {
        let urls = urls.iter().map(|url| (*url).to_owned()).collect();
        let link = LinkState::new(urls, introduction(), report(ReportedStatus::Starting), 1);
        Self {
            link,
            now: Duration::ZERO,
        }
    }

    /// A link that a manager of epoch 3 has welcomed.
    fn open() -> Self {
        let mut bench = Self::new(&["http://a"]);
        bench.greet();
        bench
    }

    fn greet(&mut self) {
        self.pass();
        self.put(connected());
        self.put(welcome(3));
    }

    fn put(&mut self, input: Input) -> Vec<String> {
        let outputs = self.link.handle(self.now, input);
        outputs.iter().map(show).collect()
    }

    /// Lets the time pass until the link has something to do.
    fn pass(&mut self) -> Vec<String> {
        self.now = self.link.deadline().expect("the link waits for a time");
        self.put(Input::TimePassed)
    }
}

fn introduction() -> Introduction {
    Introduction {
        incarnation: Incarnation(5),
        template: "orders".parse().unwrap(),
        configuration_id: ConfigurationId(7),
        container_type: "worker".parse().unwrap(),
        runtime: "linux-x64".parse().unwrap(),
        address: None,
        roles: vec!["orders".to_owned()],
        modules: Vec::new(),
        endpoints: vec![Endpoint {
            name: "orders".to_owned(),
            port: 8080,
            host: "default".to_owned(),
            route: "/".to_owned(),
        }],
        watch: vec!["*".to_owned()],
        containment: None,
    }
}

fn report(status: ReportedStatus) -> NodeReport {
    NodeReport {
        status,
        reason: None,
        processes: Vec::new(),
    }
}

fn connected() -> Input {
    Input::Connected {
        local_address: "10.0.0.1".to_owned(),
    }
}

fn welcome(epoch: u64) -> Input {
    Input::Received(ManagerMessage::Welcome {
        lease_seconds: LEASE,
        heartbeat_seconds: HEARTBEAT,
        epoch: LeaderEpoch(epoch),
    })
}

fn lease(seq: u64) -> Input {
    Input::Received(ManagerMessage::Lease {
        lease_seconds: LEASE,
        seq,
    })
}

fn order(id: i64, epoch: u64) -> Input {
    Input::Received(ManagerMessage::Order(Box::new(Order {
        id: OrderId(id),
        epoch: LeaderEpoch(epoch),
        kind: OrderKind::Drain,
        reason: String::new(),
        deadline_seconds: 60,
        next: None,
    })))
}

fn done(id: i64) -> Input {
    Input::Answer(Answer {
        order_id: OrderId(id),
        state: AckState::Done,
        reason: None,
    })
}

fn show(output: &Output) -> String {
    match output {
        Output::Connect { url } => format!("connect {url}"),
        Output::Send(NodeMessage::Hello(hello)) => format!(
            "hello {:?} from {} with {} endpoints, last order {:?}",
            hello.report.status,
            hello.address,
            hello.endpoints.len(),
            hello.last_order_id.map(|id| id.0)
        ),
        Output::Send(NodeMessage::Heartbeat { seq }) => format!("heartbeat {seq}"),
        Output::Send(NodeMessage::Status(report)) => format!("status {:?}", report.status),
        Output::Send(NodeMessage::Ack {
            order_id, state, ..
        }) => format!("ack {order_id} {state:?}"),
        Output::Send(NodeMessage::Logs(chunk)) => format!("lines of {}", chunk.request),
        Output::Send(NodeMessage::Bye { reason }) => format!("bye {reason}"),
        Output::Disconnect { .. } => "disconnect".to_owned(),
        Output::Order(order) => format!("order {}", order.id),
        Output::Members(members) => format!("members {}", members.version),
        Output::Fenced => "fenced".to_owned(),
        Output::Logs(request) => format!("logs {}", request.request),
        Output::Left => "left".to_owned(),
    }
}

#[test]
fn a_link_connects_at_once_introduces_itself_and_keeps_its_lease() {
    let mut bench = Bench::new(&["http://a"]);
    assert_eq!(bench.pass(), ["connect http://a"]);
    assert_eq!(
        bench.put(connected()),
        ["hello Starting from 10.0.0.1 with 1 endpoints, last order None"]
    );
    assert!(bench.put(welcome(3)).is_empty());
    for seq in 1..100 {
        let before = bench.now;
        assert_eq!(bench.pass(), [format!("heartbeat {seq}")]);
        let pause = bench.now.saturating_sub(before);
        assert!((Duration::from_secs(3)..=Duration::from_secs(4)).contains(&pause));
        assert!(bench.put(lease(seq)).is_empty());
    }
}

#[test]
fn a_manager_that_answers_no_heartbeat_within_the_lease_is_left() {
    let mut bench = Bench::open();
    let start = bench.now;
    while bench.pass() != ["disconnect"] {}
    assert_eq!(
        bench.now.saturating_sub(start),
        Duration::from_secs(u64::from(LEASE))
    );
    assert_eq!(bench.pass(), ["connect http://a"]);
}

#[test]
fn managers_are_tried_in_turn_and_only_a_whole_failed_round_is_backed_off() {
    let mut bench = Bench::new(&["http://a", "http://b"]);
    for round in 0..20 {
        for url in ["http://a", "http://b"] {
            let before = bench.now;
            assert_eq!(bench.pass(), [format!("connect {url}")]);
            let waited = bench.now > before;
            assert_eq!(waited, url == "http://a" && round > 0, "{round} {url}");
            bench.put(Input::NotConnected(Refusal::Failed));
        }
    }
}

#[test]
fn a_connect_or_a_welcome_that_does_not_come_is_given_up() {
    let mut bench = Bench::new(&["http://a"]);
    bench.pass();
    assert_eq!(bench.pass(), ["disconnect"]);
    assert_eq!(bench.now, GREETING_TIME_MAX);
    assert_eq!(bench.pass(), ["connect http://a"]);
    bench.put(connected());
    assert_eq!(bench.pass(), ["disconnect"]);
    assert_eq!(bench.pass(), ["connect http://a"]);
}

#[test]
fn a_missing_token_is_looked_for_again_at_once_and_then_less_often() {
    let mut bench = Bench::new(&["http://a"]);
    let (mut pause, pause_max) = TOKEN_PAUSES;
    for _ in 0..50 {
        assert_eq!(bench.pass(), ["connect http://a"]);
        let before = bench.now;
        bench.put(Input::NotConnected(Refusal::NoToken));
        assert_eq!(bench.link.deadline(), Some(before + pause));
        pause = (pause * 2).min(pause_max);
    }
    assert_eq!(pause, pause_max);
    bench.pass();
    bench.put(connected());
    bench.put(Input::Disconnected);
    bench.pass();
    let before = bench.now;
    bench.put(Input::NotConnected(Refusal::NoToken));
    assert_eq!(bench.link.deadline(), Some(before + TOKEN_PAUSES.0));
}

#[test]
fn without_a_manager_the_link_waits_for_ever() {
    let mut bench = Bench::new(&[]);
    assert_eq!(bench.link.deadline(), None);
    assert!(bench.put(Input::TimePassed).is_empty());
    let leave = Input::Leave {
        reason: "stop".to_owned(),
    };
    assert_eq!(bench.put(leave), ["left"]);
}

#[test]
fn a_state_is_told_once_and_told_again_in_the_next_hello() {
    let mut bench = Bench::open();
    let ready = Input::Report(report(ReportedStatus::Ready));
    assert_eq!(bench.put(ready.clone()), ["status Ready"]);
    assert!(bench.put(ready).is_empty());
    bench.put(Input::Disconnected);
    let draining = Input::Report(report(ReportedStatus::Draining));
    assert!(bench.put(draining).is_empty());
    bench.pass();
    assert_eq!(
        bench.put(connected()),
        ["hello Draining from 10.0.0.1 with 0 endpoints, last order None"]
    );
    let stopping = Input::Report(report(ReportedStatus::Stopping));
    assert!(bench.put(stopping).is_empty());
    assert_eq!(bench.put(welcome(3)), ["status Stopping"]);
}

#[test]
fn a_repeated_order_is_answered_again_and_not_given_again() {
    let mut bench = Bench::open();
    assert_eq!(bench.put(order(1, 3)), ["order 1"]);
    assert!(bench.put(order(1, 3)).is_empty());
    assert_eq!(bench.put(done(1)), ["ack 1 Done"]);
    assert_eq!(bench.put(order(1, 3)), ["ack 1 Done"]);
    assert_eq!(bench.put(order(1, 4)), ["ack 1 Done"]);
}

#[test]
fn an_order_of_an_older_leader_is_refused() {
    let mut bench = Bench::open();
    assert_eq!(bench.put(order(1, 2)), ["ack 1 Refused"]);
    assert_eq!(bench.put(order(1, 5)), ["order 1"]);
    assert_eq!(bench.put(order(2, 3)), ["ack 2 Refused"]);
    bench.put(Input::Disconnected);
    bench.pass();
    bench.put(connected());
    bench.put(welcome(4));
    assert_eq!(bench.put(order(3, 4)), ["ack 3 Refused"]);
}

#[test]
fn an_answer_is_repeated_on_the_next_connection_until_the_manager_has_certainly_read_it() {
    let mut bench = Bench::open();
    bench.put(order(1, 3));
    bench.put(order(2, 3));
    bench.put(done(1));
    bench.put(Input::Disconnected);
    assert!(bench.put(done(2)).is_empty());
    bench.pass();
    assert_eq!(
        bench.put(connected()),
        ["hello Starting from 10.0.0.1 with 1 endpoints, last order Some(2)"]
    );
    assert_eq!(bench.put(welcome(3)), ["ack 1 Done", "ack 2 Done"]);
    assert_eq!(bench.pass(), ["heartbeat 1"]);
    bench.put(lease(1));
    bench.put(Input::Disconnected);
    bench.pass();
    bench.put(connected());
    assert!(bench.put(welcome(3)).is_empty());
}

#[test]
fn what_is_remembered_of_orders_is_bounded() {
    let mut bench = Bench::open();
    for id in 1..=1000 {
        assert_eq!(bench.put(order(id, 3)), [format!("order {id}")]);
    }
    assert_eq!(bench.link.orders.len(), ORDERS_MAX);
    assert_eq!(bench.put(order(1, 3)), ["ack 1 Refused"]);
}

#[test]
fn a_standby_is_left_for_the_leader_but_not_for_ever() {
    let mut bench = Bench::new(&["http://a"]);
    bench.pass();
    for url in ["http://b", "http://a", "http://b"] {
        bench.put(connected());
        let moved = ManagerMessage::Moved {
            url: url.to_owned(),
        };
        assert_eq!(bench.put(Input::Received(moved)), ["disconnect"]);
        let before = bench.now;
        assert_eq!(bench.pass(), [format!("connect {url}")]);
        assert_eq!(bench.now, before);
    }
    bench.put(connected());
    let moved = ManagerMessage::Moved {
        url: "http://c".to_owned(),
    };
    let before = bench.now;
    assert_eq!(bench.put(Input::Received(moved)), ["disconnect"]);
    assert_eq!(bench.pass(), ["connect http://a"]);
    assert!(bench.now > before);
}

#[test]
fn a_fenced_or_left_link_does_nothing_more() {
    let mut bench = Bench::open();
    let fenced = Input::Received(ManagerMessage::Fenced);
    assert_eq!(bench.put(fenced), ["disconnect", "fenced"]);
    assert_eq!(bench.link.deadline(), None);
    assert!(bench.put(order(1, 3)).is_empty());

    let mut bench = Bench::open();
    let leave = Input::Leave {
        reason: "stop".to_owned(),
    };
    assert_eq!(bench.put(leave.clone()), ["bye stop", "left"]);
    assert!(bench.put(leave).is_empty());

    let mut bench = Bench::new(&["http://a"]);
    bench.pass();
    assert_eq!(
        bench.put(Input::NotConnected(Refusal::Fenced)),
        ["disconnect", "fenced"]
    );
}

#[test]
fn a_lease_of_nonsense_makes_a_node_neither_busy_nor_deaf() {
    for seconds in [0, u32::MAX] {
        let mut bench = Bench::new(&["http://a"]);
        bench.pass();
        bench.put(connected());
        bench.put(Input::Received(ManagerMessage::Welcome {
            lease_seconds: seconds,
            heartbeat_seconds: seconds,
            epoch: LeaderEpoch(1),
        }));
        let pause = bench.link.deadline().unwrap().saturating_sub(bench.now);
        assert!(pause >= Duration::from_millis(700), "{pause:?}");
        assert!(pause <= Duration::from_hours(24), "{pause:?}");
    }
}
