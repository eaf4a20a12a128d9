//! One key of a rule: its clock, its windows, its open alert. What arrives and what falls due
//! becomes messages here; the bounds over all keys are kept by the rule's [`Watch`](crate::watch).

use lapwing_event::{Fixed, Incomplete, Level, Message, ResolvedBecause};

use crate::detector::Limits;
use crate::entry::{Arrival, Entry};
use crate::episode::{Come, EXPIRY, Episode, Facts, Place, Subject};
use crate::plan::Plan;
use crate::rule::{Measure, Rule};
use crate::window::{Found, Mark, Taken, Windows};

/// The state of one key.
#[derive(Debug)]
pub(crate) struct Key {
    /// Its newest event time.
    pub(crate) newest: i64,
    /// The smallest log time − event time it has shown.
    pub(crate) least_skew: i64,
    pub(crate) windows: Windows,
    pub(crate) episode: Option<Box<Episode>>,
    /// Why events of its windows may be missing.
    pub(crate) lost: Lost,
    /// What texts name of its events, where no event is at hand when a window is decided.
    pub(crate) facts: Facts,
    /// The log time for which it stands in the queue of due things.
    pub(crate) scheduled: i64,
}

/// Why events of a key may be missing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Lost {
    pub(crate) evicted: bool,
    pub(crate) entries: bool,
    pub(crate) values: bool,
}

impl Lost {
    fn because(self) -> impl Iterator<Item = Incomplete> {
        let all = [
            (self.evicted, Incomplete::Evicted),
            (self.entries, Incomplete::Entries),
            (self.values, Incomplete::Values),
        ];
        all.into_iter().filter(|(lost, _)| *lost).map(|(_, because)| because)
    }
}

/// What a key does its work with: its rule, its name, what it may, and where messages go.
pub(crate) struct Desk<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) rule: &'a Rule,
    pub(crate) subject: Subject<'a>,
    pub(crate) limits: &'a Limits,
    /// Whether one more alert may be opened.
    pub(crate) may_open: bool,
    /// Whether an alert has ended.
    pub(crate) has_ended: bool,
    /// What had to be forgotten or left undone, and at which event.
    pub(crate) losses: Vec<(Incomplete, Place)>,
    pub(crate) messages: &'a mut Vec<Message>,
}

/// What is due on the clock of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Due {
    /// The window, or the silence, at this event time is decided.
    Decision(i64),
    /// The alert ends.
    Resolution(ResolvedBecause),
}

impl Key {
    /// A key whose first event lies at `time`.
    pub(crate) fn new(plan: &Plan, time: i64, skew: i64) -> Self {
        Self {
            newest: time,
            least_skew: skew,
            windows: Windows::new(plan),
            episode: None,
            lost: Lost::default(),
            facts: Facts::default(),
            scheduled: i64::MAX,
        }
    }

    /// What is due next, at which time on the clock of the key.
    pub(crate) fn next_due(&mut self, plan: &Plan) -> Option<(i64, Due)> {
        let decision = match plan.at_arrival {
            true => None,
            false => self
                .windows
                .list
                .first_open()
                .map(|end| (end.saturating_add(plan.decision_delay()), Due::Decision(end))),
        };
        let resolution = self.episode.as_deref().map(|episode| match plan.measure {
            Measure::Absence => {
                let at = episode.opened_at.saturating_add(EXPIRY);
                (at, Due::Resolution(ResolvedBecause::Expired))
            }
            _ => {
                let quiet = plan.resolve_after.saturating_add(plan.lateness);
                let quiet = episode.last_end.saturating_add(quiet);
                // Windows that come to hold later than they may are not told one by one.
                let told = episode.absorbed_at.saturating_add(plan.resolve_after);
                (quiet.max(told), Due::Resolution(ResolvedBecause::Quiet))
            }
        });
        // At the same time a window is decided first.
        decision.into_iter().chain(resolution).min()
    }

    /// Does what is due at `at` on the clock of the key.
    pub(crate) fn fire(&mut self, at: i64, due: Due, log_time: i64, desk: &mut Desk<'_>) {
        match due {
            Due::Resolution(because) => {
                let Some(mut episode) = self.episode.take() else { return };
                desk.messages.push(episode.resolved(&desk.subject, at, because, log_time));
                desk.has_ended = true;
                self.windows.list.close();
            }
            Due::Decision(end) if desk.plan.measure == Measure::Absence => {
                self.decide_silence(end, log_time, desk);
            }
            Due::Decision(end) => self.decide(end, log_time, desk),
        }
    }

    /// Does everything that is due up to a time on the clock of the key.
    pub(crate) fn fire_until(&mut self, clock: i64, log_time: i64, desk: &mut Desk<'_>) {
        while let Some((at, due)) = self.next_due(desk.plan).filter(|(at, _)| *at <= clock) {
            self.fire(at, due, log_time, desk);
        }
    }

    /// Decides the window at `end`, which no event can come into any more.
    fn decide(&mut self, end: i64, log_time: i64, desk: &mut Desk<'_>) {
        let value = self.holding_value(end, desk);
        if value.is_some() {
            // What is decided in its time is quiet as long after its end as if it were decided at once.
            let come = Come { arrived: None, ends: &[end], clock: end };
            let news = self.absorb(&come, value, desk);
            self.tell(&news, log_time, desk);
        }
    }

    /// The value of the window at `end` if it holds; it is decided by this.
    fn holding_value(&mut self, end: i64, desk: &Desk<'_>) -> Option<Fixed> {
        let value = desk.plan.value(self.windows.figure(end));
        let value = value.filter(|value| desk.rule.condition.holds(*value));
        self.windows.list.mark(end, if value.is_some() { Mark::Held } else { Mark::Done });
        value
    }

    /// Whether what an event at this time begins or ends should have been decided before it came.
    fn is_overdue(&self, time: i64, clock: i64, plan: &Plan) -> bool {
        clock >= time.saturating_add(plan.decision_delay())
            && self.windows.list.mark_at(time) == Some(Mark::Open)
    }

    /// Decides whether the key was silent after the events at `time`.
    fn decide_silence(&mut self, time: i64, log_time: i64, desk: &mut Desk<'_>) {
        self.windows.list.mark(time, Mark::Done);
        let span = desk.plan.timespan;
        let next = self.windows.list.time_after(time);
        if next.is_some_and(|next| next <= time.saturating_add(span)) || self.episode.is_some() {
            return;
        }
        let last: Vec<Entry> =
            self.windows.list.range(time.saturating_sub(1), time).copied().collect();
        if !desk.may_open {
            desk.losses.push((Incomplete::OpenAlerts, Place::from(&last[0])));
            return;
        }
        let mut episode = Episode::of_silence(&desk.subject, &last, span);
        episode.facts = self.facts.clone();
        self.lost.because().for_each(|because| _ = episode.lose(because));
        desk.messages.push(episode.opened(&desk.subject, log_time));
        if let Some(next) = next {
            let seen = ResolvedBecause::Seen;
            desk.messages.push(episode.resolved(&desk.subject, next, seen, log_time));
            desk.has_ended = true;
            return;
        }
        self.episode = Some(Box::new(episode));
    }

    /// Takes in an event that is not late; the clock of the key has been moved by it, to `clock`.
    /// `learn` puts what texts name of the event among the facts.
    pub(crate) fn take_in(
        &mut self,
        arrival: &Arrival,
        clock: i64,
        log_time: i64,
        learn: &dyn Fn(&mut Facts),
        desk: &mut Desk<'_>,
    ) -> Taken {
        let mut found = Found::default();
        let taken = self.windows.insert(arrival, desk.plan, &mut found);
        let mut news = News::None;
        match &taken {
            Taken::Added(entry) if desk.plan.measure == Measure::Absence => {
                learn(&mut self.facts);
                self.see(entry, log_time, desk);
                if self.is_overdue(entry.time, clock, desk.plan) {
                    self.decide_silence(entry.time, log_time, desk);
                }
            }
            Taken::Added(entry) => {
                let mut value = None;
                if desk.plan.at_arrival {
                    value = found.largest.and_then(|figure| desk.plan.value([figure, 0]));
                } else {
                    learn(&mut self.facts);
                    if self.is_overdue(entry.time, clock, desk.plan) {
                        value = self.holding_value(entry.time, desk);
                        found.ends.extend(value.map(|_| entry.time));
                    }
                }
                let come = Come { arrived: Some(entry), ends: &found.ends, clock };
                news = self.absorb(&come, value, desk);
                let counts = |e: &&mut Box<Episode>| e.covers(entry.time);
                if let Some(episode) = self.episode.as_mut().filter(counts) {
                    learn(&mut episode.facts);
                }
            }
            Taken::Repeated => return taken,
            Taken::TooManyRecords => {
                self.lost.entries = true;
                desk.losses.push((Incomplete::Entries, Place::from(&arrival.entry)));
            }
        }
        self.trim(desk.plan);
        self.bound(&arrival.entry, desk);
        self.tell(&news, log_time, desk);
        taken
    }

    /// An event has come that a silence was waiting for.
    fn see(&mut self, entry: &Entry, log_time: i64, desk: &mut Desk<'_>) {
        let span = desk.plan.timespan;
        let ends_silence = |e: &mut Box<Episode>| entry.time > e.opened_at.saturating_sub(span);
        if let Some(mut episode) = self.episode.take_if(ends_silence) {
            let at = entry.time.max(episode.opened_at);
            let seen = ResolvedBecause::Seen;
            desk.messages.push(episode.resolved(&desk.subject, at, seen, log_time));
        }
        // Silences are decided in the order of their beginnings: this one's turn may be over.
        let list = &mut self.windows.list;
        if list.time_after(entry.time).and_then(|t| list.mark_at(t)) == Some(Mark::Done) {
            list.mark(entry.time, Mark::Done);
        }
    }

    /// Lets the alert absorb an arrival and the windows that have come to hold, or opens one.
    fn absorb(&mut self, come: &Come<'_>, value: Option<Fixed>, desk: &mut Desk<'_>) -> News {
        if let Some(episode) = &mut self.episode {
            let level_before = episode.level();
            episode.absorb(desk.rule, &self.windows, come, value);
            return News::Changed { level_before };
        }
        let Some(opened_at) = come.ends.first() else { return News::None };
        if !desk.may_open {
            let at = self.windows.list.range(opened_at.saturating_sub(1), *opened_at).next();
            let at = come.arrived.or(at).expect("a window ends at an entry");
            desk.losses.push((Incomplete::OpenAlerts, Place::from(at)));
            come.ends.iter().for_each(|end| self.windows.list.mark(*end, Mark::Done));
            return News::None;
        }
        let mut episode = Episode::new(&desk.subject, *opened_at);
        episode.absorb(desk.rule, &self.windows, come, value);
        episode.facts = self.facts.clone();
        self.episode = Some(Box::new(episode));
        News::Opened
    }

    /// Gives the message that the news of an alert call for.
    fn tell(&mut self, news: &News, log_time: i64, desk: &mut Desk<'_>) {
        let Some(episode) = &mut self.episode else { return };
        let mut is_less_complete = false;
        self.lost.because().for_each(|because| is_less_complete |= episode.lose(because));
        let level_before = match news {
            News::Opened => {
                desk.messages.push(episode.opened(&desk.subject, log_time));
                return;
            }
            News::Changed { level_before } => *level_before,
            News::None => episode.level(),
        };
        let message = episode.updated(&desk.subject, level_before, is_less_complete, log_time);
        desk.messages.extend(message);
    }

    /// Forgets what nothing can need any more.
    fn trim(&mut self, plan: &Plan) {
        let horizon = plan.horizon(self.newest);
        self.windows.trim(horizon, plan);
        if let Some(episode) = &mut self.episode {
            episode.trim(horizon);
        }
    }

    /// Forgets the oldest events beyond what may be kept.
    fn bound(&mut self, arrived: &Entry, desk: &mut Desk<'_>) {
        let Limits { entries_per_key, values_per_key, .. } = *desk.limits;
        let is_over = self.windows.list.len() > entries_per_key;
        while self.windows.list.len() > entries_per_key {
            self.windows.drop_first(desk.plan);
        }
        if is_over {
            self.lost.entries = true;
            desk.losses.push((Incomplete::Entries, Place::from(arrived)));
        }
        let is_over = self.windows.values() > values_per_key;
        while self.windows.values() > values_per_key {
            self.windows.drop_first(desk.plan);
        }
        if is_over {
            self.lost.values = true;
            desk.losses.push((Incomplete::Values, Place::from(arrived)));
        }
    }
}

/// What has become of the alert of a key.
enum News {
    None,
    Opened,
    Changed { level_before: Level },
}
