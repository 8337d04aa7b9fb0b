//! iceoryx2, always between two processes: publish-subscribe one way and as a round trip, request-response, and events.
//!
//! Both processes create or open the services of a sample, under names of its own. A side that sent the last message
//! lingers until its receiver has gone, because the memory of a message belongs to the port that sent it.

use std::thread::sleep;
use std::time::{Duration, Instant};

use iceoryx2::port::client::Client;
use iceoryx2::port::listener::Listener;
use iceoryx2::port::notifier::Notifier;
use iceoryx2::port::publisher::Publisher;
use iceoryx2::port::server::Server;
use iceoryx2::port::subscriber::Subscriber;
use iceoryx2::port::update_connections::UpdateConnections;
use iceoryx2::prelude::{
    BackpressureStrategy, LogLevel, Node, NodeBuilder, PortFactory, ServiceName,
    SignalHandlingMode, ipc, set_log_level,
};
use iceoryx2::service::port_factory::{event, publish_subscribe, request_response};
use ringbar::sync::{AtomicU64, Ordering};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::WORDS;
use crate::candidate::{Candidate, Identity, Measure, Sides};
use crate::cores::Cores;
use crate::drive::{self, Plan, wake_latency};
use crate::error::BenchError;
use crate::process::{Beside, Role, arguments};
use crate::shared::SharedLines;
use crate::side::{Answer, Call, Pair, Park, Receive, SLOTS, Transmit, Wake};
use crate::spin::{STALL_LIMIT, Stalled, spin_until};

type Words = [u64; WORDS];
type PubSub = publish_subscribe::PortFactory<ipc::Service, Words, ()>;
type Calls = request_response::PortFactory<ipc::Service, Words, (), Words, ()>;
type Events = event::PortFactory<ipc::Service>;

pub(super) fn candidates() -> Vec<Candidate> {
    let between =
        |variant, measure| Identity::new("iceoryx2", variant, measure).sides(Sides::Processes);
    let with = |identity, role: Role, work: fn(&Session, Plan) -> Figure| {
        Candidate::new(identity, move |plan, cores| beside(role, plan, cores, work))
    };
    let wake = between("event", Measure::Wake).payload(0);
    vec![
        with(between("publish-subscribe", Measure::OneWay), SUBSCRIBER, publish),
        with(between("publish-subscribe pair", Measure::RoundTrip), PAIR, call_over_a_pair),
        with(between("request-response", Measure::RoundTrip), SERVER, call_server),
        Candidate::new(wake, notify_a_process),
    ]
}

const SUBSCRIBER: Role = Role { name: "iceoryx2-subscriber", run: |order| serve(order, subscribe) };
const PAIR: Role = Role { name: "iceoryx2-pair", run: |order| serve(order, answer_over_a_pair) };
const SERVER: Role = Role { name: "iceoryx2-server", run: |order| serve(order, answer_client) };
const LISTENER: Role = Role { name: "iceoryx2-listener", run: serve_listener };

pub(super) const ROLES: [Role; 4] = [SUBSCRIBER, PAIR, SERVER, LISTENER];

/// What a side's work leaves: ns an operation, if it holds the clock.
type Figure = Result<Option<f64>, BenchError>;

#[derive(Serialize, Deserialize)]
struct Order {
    plan: Plan,
    services: String,
    /// Lines shared for the wake measure; empty for the others.
    lines: String,
}

fn beside(
    role: Role,
    plan: Plan,
    cores: Cores,
    work: fn(&Session, Plan) -> Figure,
) -> Result<f64, BenchError> {
    let services = fresh_name();
    let order = Order { plan, services: services.clone(), lines: String::new() };
    let second = Beside { role: role.name, arguments: order, stdin: None };
    let left = || work(&Session::open(services)?, plan);
    let (left, right): (_, Option<f64>) = second.run(cores, left)?;
    Ok(left.or(right).unwrap_or(f64::NAN))
}

fn serve(order: Value, work: fn(&Session, Plan) -> Figure) -> Result<Value, BenchError> {
    let Order { plan, services, .. } = arguments("iceoryx2", order)?;
    Ok(Value::from(work(&Session::open(services)?, plan)?))
}

/// A name that no other sample uses, of this run or of another.
fn fresh_name() -> String {
    static SAMPLES: AtomicU64 = AtomicU64::new(0);
    let sample = SAMPLES.fetch_add(1, Ordering::Relaxed);
    format!("ringbar-benches/{}/{sample}", std::process::id())
}

fn publish(session: &Session, plan: Plan) -> Figure {
    let mut publisher = session.publisher("messages")?;
    drive::transmit(plan, &mut publisher)?;
    publisher.linger()?;
    Ok(None)
}

fn subscribe(session: &Session, plan: Plan) -> Figure {
    drive::receive(plan, &mut session.subscriber("messages")?).map(Some)
}

fn call_over_a_pair(session: &Session, plan: Plan) -> Figure {
    let incoming = session.subscriber("replies")?;
    let outgoing = session.publisher("requests")?;
    drive::call(plan, &mut Pair { outgoing, incoming }).map(Some)
}

fn answer_over_a_pair(session: &Session, plan: Plan) -> Figure {
    let incoming = session.subscriber("requests")?;
    let outgoing = session.publisher("replies")?;
    let mut pair = Pair { outgoing, incoming };
    drive::answer(plan, &mut pair)?;
    pair.outgoing.linger()?;
    Ok(None)
}

fn call_server(session: &Session, plan: Plan) -> Figure {
    let service = session.calls("calls")?;
    let client = service.client_builder().create().map_err(unavailable)?;
    meet(|| service.dynamic_config().number_of_servers() == 1)?;
    drive::call(plan, &mut Calling(client)).map(Some)
}

fn answer_client(session: &Session, plan: Plan) -> Figure {
    let service = session.calls("calls")?;
    let server = service.server_builder().create().map_err(unavailable)?;
    drive::answer(plan, &mut Serving(server))?;
    meet(|| service.dynamic_config().number_of_clients() == 0)?;
    Ok(None)
}

fn notify_a_process(plan: Plan, cores: Cores) -> Result<f64, BenchError> {
    let (services, lines) = (fresh_name(), SharedLines::create(1)?);
    let order = Order { plan, services: services.clone(), lines: lines.path() };
    let second = Beside { role: LISTENER.name, arguments: order, stdin: None };
    let left = || {
        let session = Session::open(services)?;
        let service = session.events("wakes")?;
        let notifier = service.notifier_builder().create().map_err(unavailable)?;
        meet(|| service.dynamic_config().number_of_listeners() == 1)?;
        drive::wake(plan, &lines[0].words[0], &mut Notifying(notifier))
    };
    let (rung_at, woken_at): (_, Vec<u64>) = second.run(cores, left)?;
    Ok(wake_latency(plan, &rung_at, &woken_at))
}

fn serve_listener(order: Value) -> Result<Value, BenchError> {
    let Order { plan, services, lines } = arguments(LISTENER.name, order)?;
    let (session, lines) = (Session::open(services)?, SharedLines::open(&lines, 1)?);
    let service = session.events("wakes")?;
    let listener = service.listener_builder().create().map_err(unavailable)?;
    Ok(Value::from(drive::park(plan, &lines[0].words[0], &mut Listening(listener))?))
}

fn unavailable(error: impl std::fmt::Debug) -> BenchError {
    BenchError::unavailable("iceoryx2", format!("{error:?}"))
}

/// Waits, without a burning core, until the other process has come or gone.
fn meet(mut is_met: impl FnMut() -> bool) -> Result<(), Stalled> {
    let start = Instant::now();
    while !is_met() {
        if start.elapsed() > STALL_LIMIT {
            return Err(Stalled);
        }
        sleep(Duration::from_micros(100));
    }
    Ok(())
}

/// One process's part in the services of one sample.
struct Session {
    node: Node<ipc::Service>,
    services: String,
}

impl Session {
    fn open(services: String) -> Result<Self, BenchError> {
        set_log_level(LogLevel::Fatal);
        let builder = NodeBuilder::new().signal_handling_mode(SignalHandlingMode::Disabled);
        Ok(Self { node: builder.create().map_err(unavailable)?, services })
    }

    fn name(&self, service: &str) -> Result<ServiceName, BenchError> {
        format!("{}/{service}", self.services).as_str().try_into().map_err(unavailable)
    }

    /// A queue of [`SLOTS`] messages for one publisher and one subscriber, which loses nothing.
    fn messages(&self, service: &str) -> Result<PubSub, BenchError> {
        self.node
            .service_builder(&self.name(service)?)
            .publish_subscribe::<Words>()
            .max_publishers(1)
            .max_subscribers(1)
            .subscriber_max_buffer_size(SLOTS)
            .history_size(0)
            .enable_safe_overflow(false)
            .open_or_create()
            .map_err(unavailable)
    }

    fn calls(&self, service: &str) -> Result<Calls, BenchError> {
        self.node
            .service_builder(&self.name(service)?)
            .request_response::<Words, Words>()
            .max_clients(1)
            .max_servers(1)
            .open_or_create()
            .map_err(unavailable)
    }

    fn events(&self, service: &str) -> Result<Events, BenchError> {
        let builder = self.node.service_builder(&self.name(service)?).event();
        builder.open_or_create().map_err(unavailable)
    }

    /// A publisher whose subscriber has come.
    fn publisher(&self, service: &str) -> Result<Publishing, BenchError> {
        let service = self.messages(service)?;
        let publisher = service
            .publisher_builder()
            .backpressure_strategy(BackpressureStrategy::DiscardData)
            .create()
            .map_err(unavailable)?;
        meet(|| service.dynamic_config().number_of_subscribers() == 1)?;
        publisher.update_connections().map_err(unavailable)?;
        Ok(Publishing { publisher, service })
    }

    fn subscriber(&self, service: &str) -> Result<Subscribed, BenchError> {
        let service = self.messages(service)?;
        let subscriber = service.subscriber_builder().buffer_size(SLOTS).create();
        Ok(Subscribed(subscriber.map_err(unavailable)?))
    }
}

struct Publishing {
    publisher: Publisher<ipc::Service, Words, ()>,
    service: PubSub,
}

impl Publishing {
    /// Waits until the subscriber has gone.
    fn linger(&self) -> Result<(), Stalled> {
        meet(|| self.service.dynamic_config().number_of_subscribers() == 0)
    }

    /// Sends unless the subscriber's buffer is full.
    #[inline(always)]
    fn try_send(&self, words: &Words) -> Result<bool, Stalled> {
        let sample = self.publisher.loan_uninit().map_err(|_| Stalled)?;
        let recipients = sample.write_payload(*words).send().map_err(|_| Stalled)?;
        Ok(recipients == 1)
    }
}

impl Transmit<WORDS> for Publishing {
    #[inline(always)]
    fn send(&mut self, words: &Words) -> Result<(), Stalled> {
        spin_until(|| match self.try_send(words) {
            Ok(false) => None,
            Ok(true) => Some(Ok(())),
            Err(stalled) => Some(Err(stalled)),
        })?
    }
}

struct Subscribed(Subscriber<ipc::Service, Words, ()>);

impl Receive<WORDS> for Subscribed {
    #[inline(always)]
    fn receive(&mut self, take: impl FnOnce(&Words)) -> Result<(), Stalled> {
        let sample = spin_until(|| self.0.receive().transpose())?.map_err(|_| Stalled)?;
        take(&sample);
        Ok(())
    }
}

struct Calling(Client<ipc::Service, Words, (), Words, ()>);

impl Call<WORDS, WORDS> for Calling {
    fn call(&mut self, request: &Words) -> Result<Words, Stalled> {
        let request = self.0.loan_uninit().map_err(|_| Stalled)?.write_payload(*request);
        let pending = request.send().map_err(|_| Stalled)?;
        let reply = spin_until(|| pending.receive().transpose())?.map_err(|_| Stalled)?;
        Ok(*reply.payload())
    }
}

struct Serving(Server<ipc::Service, Words, (), Words, ()>);

impl Answer<WORDS, WORDS> for Serving {
    fn answer(&mut self, reply: impl FnOnce(&Words) -> Words) -> Result<(), Stalled> {
        let request = spin_until(|| self.0.receive().transpose())?.map_err(|_| Stalled)?;
        let response = request.loan_uninit().map_err(|_| Stalled)?;
        response.write_payload(reply(&request)).send().map_err(|_| Stalled)
    }
}

struct Notifying(Notifier<ipc::Service>);

impl Wake for Notifying {
    fn wake(&mut self) -> Result<(), BenchError> {
        self.0.notify().map(drop).map_err(|_| Stalled.into())
    }
}

struct Listening(Listener<ipc::Service>);

impl Park for Listening {
    fn park(&mut self) -> Result<(), BenchError> {
        self.0.blocking_wait(|_| ()).map(drop).map_err(|_| Stalled.into())
    }
}
