//! The machine of a link under virtual time.

use super::*;

struct World {
    link: Link,
    now: Instant,
    /// What was said, and when after the start.
    said: Vec<(Duration, Action)>,
    start: Instant,
}

fn address(last: u16) -> Ipv6Addr {
    Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, last)
}

impl World {
    fn new(seed: u64) -> Self {
        let now = Instant::now();
        let mut world = World { link: Link::new(seed), now, said: Vec::new(), start: now };
        world.on(Event::Up(address(1)));
        world
    }

    fn on(&mut self, event: Event) {
        let mut actions = Vec::new();
        self.link.on(self.now, event, &mut actions);
        let at = self.now - self.start;
        self.said.extend(actions.into_iter().map(|action| (at, action)));
    }

    fn advertises(&mut self, last: u16) {
        self.on(Event::Heard(Message::Advertisement, address(last)));
    }

    /// Lets time pass, with every deadline at its time.
    fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some(deadline) = self.link.deadline().filter(|deadline| *deadline <= until) {
            self.now = self.now.max(deadline);
            self.on(Event::Tick);
        }
        self.now = until;
    }

    fn times(&self, what: Action) -> Vec<Duration> {
        self.said.iter().filter(|(_, action)| *action == what).map(|(at, _)| *at).collect()
    }
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn it_advertises_at_once_and_then_within_the_bounds_of_rfc_4861() {
    for seed in 0..50 {
        let mut world = World::new(seed);
        world.pass(seconds(600));
        let times = world.times(Action::Advertise);
        assert_eq!(times.first(), Some(&Duration::ZERO));
        let pauses: Vec<Duration> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(
            pauses.iter().all(|pause| (SHORTEST_INTERVAL..=LONGEST_INTERVAL).contains(pause)),
            "{pauses:?}"
        );
        assert!(pauses.iter().any(|pause| *pause != pauses[0]), "nobody advertises in step with others");
    }
}

#[test]
fn a_solicitation_is_answered_soon_but_not_more_often_than_every_three_seconds() {
    for seed in 0..50 {
        let mut world = World::new(seed);
        world.pass(seconds(3));
        world.on(Event::Heard(Message::Solicitation, address(2)));
        world.pass(LONGEST_DELAY);
        assert_eq!(world.times(Action::Advertise).len(), 2, "the first one, and the answer");
        for _ in 0..20 {
            world.on(Event::Heard(Message::Solicitation, address(2)));
            world.pass(Duration::from_millis(400));
        }
        let times = world.times(Action::Advertise);
        assert!(times.windows(2).all(|pair| pair[1] - pair[0] >= LEAST_PAUSE), "{times:?}");
        assert!(times.windows(2).all(|pair| pair[1] - pair[0] <= LONGEST_INTERVAL), "{times:?}");
    }
}

#[test]
fn it_asks_three_times_and_no_more_and_not_when_somebody_is_there() {
    let mut world = World::new(1);
    world.pass(seconds(60));
    assert_eq!(world.times(Action::Solicit), [seconds(0), seconds(4), seconds(8)]);
    let mut world = World::new(1);
    world.advertises(2);
    world.pass(seconds(60));
    assert_eq!(world.times(Action::Solicit), [seconds(0)]);
}

#[test]
fn the_neighbour_is_who_advertises_and_stays_however_silent_it_is() {
    let mut world = World::new(1);
    assert_eq!(world.link.sight(), Sight::Nobody);
    world.advertises(1);
    assert_eq!(world.link.sight(), Sight::Nobody, "what is said here is no neighbour's");
    world.on(Event::Heard(Message::Solicitation, address(3)));
    assert_eq!(world.link.sight(), Sight::Nobody, "a host that asks is no router");
    world.advertises(2);
    world.pass(seconds(3600));
    assert_eq!(world.link.sight(), Sight::One(address(2)));
}

#[test]
fn two_neighbours_are_two_until_one_has_been_silent_for_long() {
    let mut world = World::new(1);
    world.advertises(3);
    world.pass(seconds(20));
    world.advertises(2);
    assert_eq!(world.link.sight(), Sight::Several(address(2), address(3)));
    world.pass(seconds(9));
    assert_eq!(world.link.sight(), Sight::Several(address(2), address(3)));
    world.pass(seconds(1));
    assert_eq!(world.link.sight(), Sight::One(address(2)), "without a word of anybody");
    // One that was silent for an hour gives way to the next at once.
    world.pass(seconds(3600));
    world.advertises(4);
    assert_eq!(world.link.sight(), Sight::One(address(4)));
}

#[test]
fn a_link_that_goes_down_forgets_and_says_nothing_and_one_that_comes_up_begins_anew() {
    let mut world = World::new(1);
    world.advertises(2);
    world.on(Event::Down);
    let said = world.said.len();
    assert_eq!((world.link.sight(), world.link.deadline()), (Sight::Nobody, None));
    world.advertises(2);
    world.on(Event::Tick);
    assert_eq!((world.link.sight(), world.said.len()), (Sight::Nobody, said));
    world.on(Event::Up(address(1)));
    let news: Vec<Action> = world.said[said..].iter().map(|(_, action)| *action).collect();
    assert_eq!(news, [Action::Advertise, Action::Solicit]);
}

#[test]
fn a_link_full_of_strangers_takes_no_room() {
    let mut world = World::new(1);
    for last in 2..2000 {
        world.advertises(last);
    }
    assert_eq!(world.link.sight(), Sight::Several(address(2), address(3)));
    assert!(world.link.up.as_ref().is_some_and(|up| up.neighbours.len() == MOST));
}
