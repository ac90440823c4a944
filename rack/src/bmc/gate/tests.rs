use std::net::Ipv4Addr;

use tokio::{
    sync::mpsc,
    task::{JoinHandle, yield_now},
    time::Instant,
};

use super::{
    super::{Face, ipmi::lanplus::KnownSuites},
    *,
};

const ONE: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 1), 623);
const OTHER: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 2), 623);

/// Waits in a task, tells its name when its turn has come, and lets it end.
async fn asks(
    gate: &Gate,
    class: Class,
    name: &'static str,
    turns: &mpsc::UnboundedSender<&'static str>,
) -> JoinHandle<Result<(), BmcError>> {
    let (gate, turns) = (gate.clone(), turns.clone());
    let task = tokio::spawn(async move {
        let _turn = gate.enter(ONE, class).await?;
        turns.send(name).unwrap();
        Ok(())
    });
    // On one thread it runs until it waits.
    yield_now().await;
    task
}

#[tokio::test(start_paused = true)]
async fn one_at_a_time_and_others_are_free() {
    let gate = Gate::default();
    let first = gate.enter(ONE, Class::Polling).await.unwrap();
    let _other = gate.enter(OTHER, Class::Polling).await.unwrap();
    let before = Instant::now();
    assert!(matches!(gate.enter(ONE, Class::Power).await, Err(BmcError::Busy(_))), "waits, then gives up");
    assert_eq!(before.elapsed(), WAIT);
    drop(first);
    drop(gate.enter(ONE, Class::Polling).await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn the_more_important_is_called_first() {
    let (gate, (turns, mut called)) = (Gate::default(), mpsc::unbounded_channel());
    let first = gate.enter(ONE, Class::Polling).await.unwrap();
    let mut tasks = Vec::new();
    for (class, name) in [(Class::Polling, "poll"), (Class::Inventory, "probe"), (Class::Power, "off")] {
        tasks.push(asks(&gate, class, name, &turns).await);
    }
    drop(first);
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    assert_eq!([called.recv().await, called.recv().await, called.recv().await], ["off", "probe", "poll"].map(Some));
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_refuses_at_once_and_polls_make_room() {
    let (gate, (turns, _called)) = (Gate::default(), mpsc::unbounded_channel());
    let first = gate.enter(ONE, Class::Power).await.unwrap();
    let mut polls = Vec::new();
    for _ in 0..QUEUE {
        polls.push(asks(&gate, Class::Polling, "poll", &turns).await);
    }
    let before = Instant::now();
    assert!(matches!(gate.enter(ONE, Class::Polling).await, Err(BmcError::Busy(_))));
    let command = asks(&gate, Class::Power, "off", &turns).await;
    let newest = polls.pop().unwrap().await.unwrap().unwrap_err();
    assert!(matches!(&newest, BmcError::Busy(text) if text.contains("more important")), "{newest}");
    assert_eq!(before.elapsed(), Duration::ZERO, "told at once");
    drop(first);
    command.await.unwrap().unwrap();
    for poll in polls {
        poll.await.unwrap().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn who_leaves_while_waiting_costs_nobody_a_turn() {
    let (gate, (turns, _called)) = (Gate::default(), mpsc::unbounded_channel());
    let first = gate.enter(ONE, Class::Power).await.unwrap();
    let leaves = asks(&gate, Class::Power, "leaves", &turns).await;
    let stays = asks(&gate, Class::Polling, "stays", &turns).await;
    // Called and gone at the same moment: nobody has taken the turn out of the channel yet.
    drop(first);
    leaves.abort();
    assert!(leaves.await.unwrap_err().is_cancelled());
    stays.await.unwrap().unwrap();
}

fn login(password: &str) -> Login {
    let (username, password) = ("maas".to_owned(), password.to_owned().into());
    Login { address: ONE, username, password, face: Face::Ipmi, suites: KnownSuites::default() }
}

/// Reads in a task; tells what it is told, or that it has the turn, and ends when `tell` says what the BMC answers.
async fn reads(gate: &Gate, class: Class, password: &str) -> (JoinHandle<(bool, Told)>, oneshot::Sender<Told>) {
    let (gate, login, (tell, answer)) = (gate.clone(), login(password), oneshot::channel::<Told>());
    let task = tokio::spawn(async move {
        match gate.read(&login, class).await {
            Ok(Reading::Own(_turn, others)) => {
                let told = answer.await.unwrap();
                others.tell(&told);
                (true, told)
            }
            Ok(Reading::Shared(told)) => (false, told),
            Err(error) => (false, Err(error)),
        }
    });
    yield_now().await;
    (task, tell)
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_the_same_gets_one_answer_that_is_not_older_than_the_question() {
    let gate = Gate::default();
    let command = gate.enter(ONE, Class::Power).await.unwrap();
    let (poll, _) = reads(&gate, Class::Polling, "calvin").await;
    let (other_login, tell_other) = reads(&gate, Class::Polling, "letmein").await;
    let (engine, tell) = reads(&gate, Class::Lifecycle, "calvin").await;
    drop(command);
    yield_now().await;
    // The read has begun: who comes now gets a later one.
    let (late, tell_late) = reads(&gate, Class::Lifecycle, "calvin").await;
    tokio::time::advance(WAIT * 2 / 3).await;
    tell.send(Ok(PowerState::Off)).unwrap();
    assert_eq!(engine.await.unwrap(), (true, Ok(PowerState::Off)), "the more important one asked");
    assert_eq!(poll.await.unwrap(), (false, Ok(PowerState::Off)));
    tell_late.send(Ok(PowerState::On)).unwrap();
    assert_eq!(late.await.unwrap(), (true, Ok(PowerState::On)));
    tell_other.send(Err(BmcError::Refused("no".into()))).unwrap();
    assert_eq!(other_login.await.unwrap(), (true, Err(BmcError::Refused("no".into()))));
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_anothers_answer_is_told_if_none_comes() {
    let gate = Gate::default();
    let command = gate.enter(ONE, Class::Power).await.unwrap();
    let (first, _tell) = reads(&gate, Class::Lifecycle, "calvin").await;
    let (second, _) = reads(&gate, Class::Lifecycle, "calvin").await;
    drop(command);
    yield_now().await;
    // Longer than a place in the queue is waited for: the answer is on its way.
    tokio::time::advance(WAIT * 2).await;
    yield_now().await;
    assert!(!second.is_finished());
    first.abort();
    assert!(matches!(second.await.unwrap(), (false, Err(BmcError::Busy(_)))));
    assert!(gate.enter(ONE, Class::Polling).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn polls_that_are_too_many_wait_and_hold_up_no_command() {
    let (gate, (turns, _called)) = (Gate::new(1), mpsc::unbounded_channel());
    let other = gate.enter(OTHER, Class::Polling).await.unwrap();
    let poll = asks(&gate, Class::Polling, "poll", &turns).await;
    let before = Instant::now();
    let command = gate.enter(ONE, Class::Power).await.unwrap();
    assert_eq!(before.elapsed(), Duration::ZERO, "the BMC is free, whatever goes on elsewhere");
    drop(other);
    yield_now().await;
    assert!(!poll.is_finished(), "a place is free, but its BMC is not");
    let _elsewhere = gate.enter(OTHER, Class::Polling).await.unwrap();
    drop(command);
    assert!(matches!(poll.await.unwrap(), Err(BmcError::Busy(_))), "a place does not come either");
}

/// Something of `class` is done at [`ONE`], with this outcome.
async fn done(gate: &Gate, class: Class, outcome: Told) -> Told {
    gate.enter(ONE, class).await?.end(outcome)
}

fn silence() -> Told {
    Err(BmcError::Unreachable("no answer".into()))
}

fn is_left_alone(told: &Told) -> bool {
    matches!(told, Err(BmcError::Unreachable(text)) if text.contains("was not asked"))
}

#[tokio::test(start_paused = true)]
async fn polls_leave_a_silent_bmc_alone_and_commands_do_not() {
    let gate = Gate::default();
    for class in [Class::Polling, Class::Lifecycle, Class::Polling] {
        assert_eq!(done(&gate, class, silence()).await, silence());
    }
    let told = done(&gate, Class::Polling, Ok(PowerState::On)).await;
    assert!(is_left_alone(&told), "{told:?}");
    let error = told.unwrap_err().to_string();
    assert!(error.contains("10.0.0.1:623 was not asked: it has been silent 3 times in a row, for 0 s"), "{error}");
    for class in [Class::Inventory, Class::Lifecycle, Class::Power] {
        assert_eq!(done(&gate, class, silence()).await, silence(), "it is asked");
    }
    assert!(is_left_alone(&done(&gate, Class::Polling, Ok(PowerState::On)).await));
    let refusal = Err(BmcError::Refused("no".into()));
    assert_eq!(done(&gate, Class::Power, refusal.clone()).await, refusal, "it is there");
    assert_eq!(done(&gate, Class::Polling, Ok(PowerState::On)).await, Ok(PowerState::On));
}

#[tokio::test(start_paused = true)]
async fn one_poll_finds_out_whether_a_silent_bmc_is_back() {
    let gate = Gate::default();
    for _ in 0..breaker::FAILURES {
        assert_eq!(done(&gate, Class::Polling, silence()).await, silence());
    }
    for pause in [5, 10, 20, 40, 80, 160, 300, 300] {
        tokio::time::advance(Duration::from_millis(pause * 500 - 1)).await;
        assert!(is_left_alone(&done(&gate, Class::Polling, silence()).await), "at least half of {pause} s");
        tokio::time::advance(Duration::from_millis(pause * 500 + 1)).await;
        let trial = gate.enter(ONE, Class::Polling).await.unwrap();
        assert!(is_left_alone(&done(&gate, Class::Polling, silence()).await), "one at a time");
        assert_eq!(trial.end(silence()), silence());
    }
    tokio::time::advance(Duration::from_mins(5)).await;
    assert_eq!(done(&gate, Class::Polling, Ok(PowerState::On)).await, Ok(PowerState::On));
    assert_eq!(done(&gate, Class::Polling, silence()).await, silence(), "the first silence since");
}

#[tokio::test(start_paused = true)]
async fn a_trial_that_did_not_get_its_turn_is_none() {
    let gate = Gate::default();
    for _ in 0..breaker::FAILURES {
        assert_eq!(done(&gate, Class::Polling, silence()).await, silence());
    }
    tokio::time::advance(Duration::from_mins(5)).await;
    let command = gate.enter(ONE, Class::Power).await.unwrap();
    assert!(matches!(gate.enter(ONE, Class::Polling).await, Err(BmcError::Busy(_))));
    drop(command);
    assert!(gate.enter(ONE, Class::Polling).await.is_ok());
}
