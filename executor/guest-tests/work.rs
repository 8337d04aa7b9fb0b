//! Programs that work, wait and lose what they work with. Each prints lines that its test waits for.

use clap::Args;
use ringbar::client::Health;
use ringbar::error::ChannelError;
use ringbar::guest::{GuestConfig, Waiting, functions};
use ringbar::link::Options;
use ringbar_session::{Session, SessionConfig, SessionError};
use ringbar_vocabulary::{ContextId, Init, MemAlloc, MemsetD8, Ping, StreamId};
use std::error::Error;
use std::time::{Duration, Instant};
use thiserror::Error;

/// Pinned memory of a program that works, in bytes: most of what a small device has for it.
const PINNED_BYTES: usize = 2 << 20;
/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(60);

/// How much of it.
#[derive(Debug, Args)]
pub struct Amount {
    /// Interrupts to count, losses to survive.
    #[arg(long, default_value_t = 1)]
    count: u64,
    /// How long to go on after that.
    #[arg(long, value_name = "TIME", value_parser = ringbar_executor::units::duration, default_value = "1s")]
    time: Duration,
}

fn connect(options: Options) -> Result<Session, Box<dyn Error>> {
    let config = SessionConfig { options, ..SessionConfig::default() };
    let guest = GuestConfig { patience: PATIENCE, ..GuestConfig::from_env()? };
    let session = Session::connect_guest(&guest, config)?;
    session.caller()?.call(&Init { flags: 0 })?;
    if let Some(attached) = session.attached() {
        println!(
            "attached to channel {} in generation {}, {}, control {}, bulk {}",
            attached.channel,
            attached.generation,
            if attached.interrupts { "interrupts" } else { "polled" },
            attached.control,
            attached.bulk
        );
    }
    Ok(session)
}

/// Calls over and over. `count` losses are survived by attaching anew; after the last one it works for `time` more.
pub fn work(amount: &Amount) -> Result<(), Box<dyn Error>> {
    let mut session = connect(Options::default())?;
    let mut lost = 0;
    loop {
        let end = (lost == amount.count).then(|| Instant::now() + amount.time);
        let Some(error) = work_once(&session, end)? else { break };
        lost += 1;
        println!("lost ({lost}): {error}");
        let before = whereabouts(&session);
        session = reattach(&session)?;
        println!("attached anew: {} after {before}", whereabouts(&session));
    }
    session.close();
    Ok(())
}

/// Its channel, and the generation of that.
fn whereabouts(session: &Session) -> String {
    let channel = session.attached().map_or(0, |attached| attached.channel);
    format!("channel {channel}, generation {}", session.client().generation())
}

/// A host that comes back takes a while to say so.
fn reattach(old: &Session) -> Result<Session, Box<dyn Error>> {
    let end = Instant::now() + PATIENCE;
    loop {
        match old.reattach() {
            Ok(session) => {
                session.caller()?.call(&Init { flags: 0 })?;
                return Ok(session);
            }
            Err(error) if Instant::now() > end => return Err(error.into()),
            Err(_) => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}

/// Until `end` or a loss, which it returns. Says once that it works, and each stall with its end.
fn work_once(
    session: &Session,
    end: Option<Instant>,
) -> Result<Option<SessionError>, Box<dyn Error>> {
    let watched = session.clone();
    let (tell, told) = std::sync::mpsc::channel::<()>();
    let watch = std::thread::spawn(move || watch_stalls(&watched, &told));
    let result = call_until(session, end);
    drop(tell);
    watch.join().map_err(|_| "the watching thread panicked")?;
    loss_of(result)
}

/// Why work ended before its time.
#[derive(Debug, Error)]
enum WorkError {
    #[error(transparent)]
    Session(#[from] SessionError),
    /// What no loss explains.
    #[error("round {round}: found the bytes {bytes:x?} and the reply {reply}, expected {:#04x} everywhere and {round}", *round as u8)]
    OtherBytes { round: u64, bytes: Vec<u8>, reply: u64 },
}

/// A loss, after which work goes on; everything else is a failure of the test.
fn loss_of(result: Result<(), WorkError>) -> Result<Option<SessionError>, Box<dyn Error>> {
    match result {
        Ok(()) => Ok(None),
        Err(WorkError::Session(error)) if error.is_lost() => Ok(Some(error)),
        Err(error) => Err(error.into()),
    }
}

/// What came back is what this round sent: its number, and bytes of its number.
fn came_back(round: u64, bytes: &[u8], reply: u64) -> Result<(), WorkError> {
    let same = reply == round && bytes.iter().all(|&byte| byte == round as u8);
    if same { Ok(()) } else { Err(WorkError::OtherBytes { round, bytes: bytes.to_vec(), reply }) }
}

fn call_until(session: &Session, end: Option<Instant>) -> Result<(), WorkError> {
    let mut caller = session.caller()?;
    let at = caller.call(&MemAlloc { context: ContextId::FIRST, bytes: 4096 })?.at;
    let pinned = session.pin(PINNED_BYTES as u64)?;
    session.write_pinned(&pinned, 0, &vec![1; PINNED_BYTES])?;
    let mut token = 0;
    while end.is_none_or(|end| Instant::now() < end) {
        let work = MemsetD8 { dst: at, value: token as u8, count: 4096, stream: StreamId::DEFAULT };
        session.post(&work)?;
        let mut back = [0; 64];
        session.memcpy_dtoh(&mut back, at, StreamId::DEFAULT)?;
        let reply = caller.call(&Ping { token })?;
        came_back(token, &back, reply.token)?;
        token += 1;
        if token == 20 {
            println!("working");
        }
    }
    println!("made {token} rounds");
    Ok(())
}

fn watch_stalls(session: &Session, told: &std::sync::mpsc::Receiver<()>) {
    let mut stalled = false;
    while told.recv_timeout(Duration::from_millis(50))
        == Err(std::sync::mpsc::RecvTimeoutError::Timeout)
    {
        match session.client().health() {
            Health::Stalled { silent } if !stalled => {
                stalled = true;
                println!("stalled after {silent:?}");
            }
            Health::Running if stalled => {
                stalled = false;
                println!("the worker goes on");
            }
            Health::Ended(_) => return,
            _ => {}
        }
    }
}

/// Interrupts at most that this program's worker has not rung.
const FOREIGN_BELLS: u64 = 3;

/// Waits for device work, asleep, until `count` waits were ended by an interrupt. The mock must take a while for its work
/// (`--mock latency_ns=300000`), else the fence is there before this side sleeps.
pub fn interrupts(amount: &Amount) -> Result<(), Box<dyn Error>> {
    let options = Options { spin_max: Some(Duration::ZERO), ..Options::default() };
    let session = connect(options)?;
    let attached = session.attached().ok_or("not attached over a device")?;
    let all = attached.device.interrupts.clone();
    let all = all.ok_or_else(|| format!("no interrupts: {:?}", attached.device.no_interrupts))?;
    let at = session.caller()?.call(&MemAlloc { context: ContextId::FIRST, bytes: 4096 })?.at;
    let sleep_once = || -> Result<(), Box<dyn Error>> {
        let work = MemsetD8 { dst: at, value: 1, count: 64, stream: StreamId::DEFAULT };
        session.post(&work)?;
        Ok(session.synchronise(StreamId::DEFAULT)?)
    };
    let (start, mut waits) = (Instant::now(), 0_u64);
    while all.received() < amount.count {
        if start.elapsed() > 10 * PATIENCE {
            return Err(format!("{} interrupts after {waits} waits", all.received()).into());
        }
        sleep_once()?;
        waits += 1;
    }
    let received = all.received();
    let rung = rung_by_worker(&session, received, &sleep_once)?;
    println!(
        "{received} interrupts received, {rung} rung by the worker, {waits} waits, {:?}",
        start.elapsed()
    );
    // A lost one shows nowhere else, since each sleep also ends by itself. The last one may have come after the last wait. Three
    // are no worker's: the daemon's for the end of the worker before and for the claim, and one left from the program before.
    if received > rung + FOREIGN_BELLS || rung.saturating_sub(received) > amount.count.div_ceil(100)
    {
        return Err(format!("{received} interrupts, but the worker rang {rung} times").into());
    }
    session.close();
    Ok(())
}

/// Doorbells that the worker has counted, at least so many if it gets there. It has several threads, whose last count but one
/// may be published last: then the next doorbell says more.
fn rung_by_worker(
    session: &Session,
    received: u64,
    sleep_once: &dyn Fn() -> Result<(), Box<dyn Error>>,
) -> Result<u64, Box<dyn Error>> {
    let rung = || session.client().counters().worker_bells;
    for _ in 0..100 {
        if rung() >= received {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    if rung() < received {
        sleep_once()?;
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(rung())
}

/// The function is removed while it is mapped and in use (by itself, or with `--count 0` by whoever runs the VM): a typed
/// error, no signal, no hang.
pub fn unplug(amount: &Amount) -> Result<(), Box<dyn Error>> {
    let session = connect(Options::default())?;
    let function = session.attached().and_then(|attached| attached.device.function.clone());
    let function = function.ok_or("no function")?;
    let mut caller = session.caller()?;
    caller.call(&Ping { token: 1 })?;
    let remove = function.folder.join("remove");
    let by_itself = amount.count > 0;
    let removing = std::thread::spawn(move || match by_itself {
        true => std::fs::write(remove, "1"),
        false => Ok(()),
    });
    println!("working");
    let end = Instant::now() + PATIENCE;
    let error = loop {
        let waited = session.client().wait_fence(0, u64::MAX, Some(Duration::from_millis(500)));
        match waited.and(Err::<(), _>(ChannelError::Closed)) {
            Err(ChannelError::Deadline { .. }) if Instant::now() < end => {}
            Err(error) => break error,
            Ok(()) => {}
        }
    };
    println!("unplugged: {error}");
    if !matches!(error, ChannelError::Unplugged) {
        return Err(format!("found the error {error}, expected Unplugged").into());
    }
    let later = caller.call(&Ping { token: 2 }).err().ok_or("calls are still answered")?;
    println!("and later: {later}");
    drop((caller, session));
    removing.join().map_err(|_| "the removing thread panicked")??;
    // Who has interrupts is told before the function goes, so that it can.
    let left = || functions("/sys".as_ref()).into_iter().any(|f| f.address == function.address);
    while left() {
        if Instant::now() > end {
            return Err("the function is still there".into());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// Takes every channel; the next program is told so within its patience.
pub fn taken() -> Result<(), Box<dyn Error>> {
    let config = GuestConfig { waiting: Waiting::Polling, ..GuestConfig::from_env()? };
    let session = |patience| {
        let guest = GuestConfig { patience, ..config.clone() };
        Session::connect_guest(&guest, SessionConfig::default())
    };
    let first = session(PATIENCE)?;
    let channels = first.attached().map_or(0, |attached| attached.device.directory.channels);
    let others = (1..channels).map(|_| session(PATIENCE)).collect::<Result<Vec<_>, _>>()?;
    let error = match session(Duration::from_secs(1)) {
        Ok(_) => return Err("one channel more than there are".into()),
        Err(error) => error.to_string(),
    };
    println!("refused: {error}");
    if !error.contains(&format!("all {channels} channels")) {
        return Err("another error than that all are taken".into());
    }
    first.close();
    let again = session(PATIENCE)?;
    again.caller()?.call(&Init { flags: 0 })?;
    drop(others);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_that_got_other_bytes_back_has_failed_and_is_no_loss() {
        assert!(came_back(258, &[2; 64], 258).is_ok());
        let mut bytes = [2; 64];
        bytes[63] = 3;
        for result in [came_back(258, &bytes, 258), came_back(258, &[2; 64], 257)] {
            let error = loss_of(result).expect_err("neither an end in order nor a loss");
            assert!(error.to_string().contains("round 258: found"), "{error}");
        }
    }
}
