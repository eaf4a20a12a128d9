//! The detector of the model: which messages the records and the ticks of the clock raise.
//!
//! A tick is log time that moves on without a record. Whether it happens is chance, and what the
//! records after it raise depends on it: this is why positions are committed with messages.

/// A set of messages, one bit for each (id, revision).
pub(crate) type Messages = u8;

/// Alert `a`, revision 1: raised by record 0.
const A1: Messages = 1;
/// Alert `a`, revision 2: raised by record 1, unless a tick resolved `a` before it.
const A2: Messages = 2;
/// An alert of silence: raised by the tick.
const SILENCE: Messages = 4;
/// Alert `b`: raised by record 1 in place of `a` revision 2 if the tick came first.
const B1: Messages = 8;

/// The only offset before which a tick changes anything; one is enough to tell two histories apart.
pub(crate) const TICK_AT: u8 = 1;

/// The state of the detector: it has read the records before `offset`.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Clock {
    pub(crate) offset: u8,
    pub(crate) ticked: bool,
}

impl Clock {
    /// Whether reading on to `to` passes the place of the tick.
    pub(crate) fn may_tick(self, to: u8) -> bool {
        !self.ticked && self.offset <= TICK_AT && to >= TICK_AT
    }

    /// Reads on to `to`, with the tick on the way if `tick` is set.
    pub(crate) fn read_to(self, to: u8, tick: bool) -> (Clock, Messages) {
        let ticks = tick && self.may_tick(to);
        let mut clock = self;
        let mut raised = 0;
        if ticks {
            raised |= SILENCE;
            clock.ticked = true;
        }
        for record in self.offset..to {
            raised |= match record {
                0 => A1,
                1 if clock.ticked => B1,
                1 => A2,
                _ => 0,
            };
        }
        clock.offset = to;
        (clock, raised)
    }
}

/// What an undisturbed run over `records` records raises.
pub(crate) fn undisturbed(records: u8, tick: bool) -> Messages {
    Clock::default().read_to(records, tick).1
}

/// Whether one undisturbed run could have raised all of these.
pub(crate) fn agree(messages: Messages) -> bool {
    messages & A2 == 0 || messages & (SILENCE | B1) == 0
}

/// The messages by name, for a trace.
pub(crate) fn names(messages: Messages) -> String {
    let named = [(A1, "a/1"), (A2, "a/2"), (SILENCE, "silence/1"), (B1, "b/1")];
    let held: Vec<&str> =
        named.iter().filter(|(bit, _)| messages & bit != 0).map(|(_, name)| *name).collect();
    if held.is_empty() { "no message".into() } else { held.join(" ") }
}
