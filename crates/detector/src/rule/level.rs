//! Levels of a rule: its own, and those that it rises to.

use lapwing_event::{Fixed, Level};

use super::correlation::Counting;
use crate::yaml::{Node, YamlError};

/// Reads a level.
pub(super) fn read_level(node: &Node) -> Result<Level, YamlError> {
    let word = node.word(&Level::ALL.map(Level::word))?;
    Ok(Level::by_word(word).expect("one of the known words"))
}

/// Reads `levels:`: higher levels with the values at which they begin, rising.
///
/// # Errors
/// A condition that asks for little, values that do not rise or that no window can reach.
pub(super) fn read_levels(
    node: &Node,
    base: Level,
    counting: &Counting,
) -> Result<Vec<(Level, Fixed)>, YamlError> {
    if !counting.condition.asks_for_more() {
        return Err(node.error(
            "levels rise with the value, so they need a condition of gt or gte alone; write a \
             rule for each level",
        ));
    }
    let domain = counting.domain();
    let (mut last_level, mut last_from) = (base, domain.lowest(&counting.condition));
    let mut levels = Vec::new();
    for (word, value) in node.map()? {
        let level = Level::by_word(word)
            .ok_or_else(|| value.error("expected informational, low, medium, high or critical"))?;
        let from = domain.read(value)?;
        if level <= last_level || from <= last_from {
            return Err(value.error(format!(
                "levels and their values must rise, above the rule's own; expected a level above \
                 {last_level} and more than {last_from}"
            )));
        }
        if from > domain.most() {
            return Err(value.error(format!("no window can reach more than {}", domain.most())));
        }
        levels.push((level, from));
        (last_level, last_from) = (level, from);
    }
    Ok(levels)
}
