//! `lapwing replay kafka://…`: from the command line to the source of a topic.

use anyhow::bail;
use clap::Args;
use lapwing_event::FieldId;
use lapwing_ingest::Source;
use lapwing_ingest::source::kafka::{OffsetRange, TopicAddress};

use super::ReplayArgs;
use crate::config::expand;

/// What only a topic has.
#[derive(Debug, Args)]
#[command(next_help_heading = "Topics of Kafka")]
pub(super) struct TopicArgs {
    /// Only these offsets, the end not included: 100..200, 100.. or ..200; where the topic has several
    /// partitions 3:100..200. May be given again; partitions that are not named are then not read
    #[arg(long, value_name = "[PARTITION:]FROM..TO")]
    offsets: Vec<OffsetRange>,
    /// The fields that decide the partition of a record, e.g. agent.id, as `run` has them in its
    /// configuration. Alerts of rules that do not group by them say that they are incomplete
    #[arg(long, value_name = "FIELD", value_delimiter = ',', value_parser = read_field)]
    partitioned_by: Vec<FieldId>,
    /// A property of librdkafka, e.g. security.protocol=SASL_SSL; the value may be ${env:NAME} or
    /// ${file:PATH}. May be given again
    #[arg(long = "kafka-property", value_name = "NAME=VALUE", value_parser = read_property)]
    properties: Vec<(String, String)>,
}

impl TopicArgs {
    /// The name of an option that was given, if one was.
    fn given(&self) -> Option<&'static str> {
        [
            (self.offsets.is_empty(), "--offsets"),
            (self.partitioned_by.is_empty(), "--partitioned-by"),
            (self.properties.is_empty(), "--kafka-property"),
        ]
        .into_iter()
        .find_map(|(is_empty, name)| (!is_empty).then_some(name))
    }
}

fn read_field(name: &str) -> Result<FieldId, String> {
    FieldId::by_name(name).ok_or_else(|| format!("{name} is no field of an event"))
}

fn read_property(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE")?;
    Ok((name.trim().to_owned(), expand(value)?))
}

/// The address of the topic that is to be replayed; `None` if the inputs are files.
pub(super) fn address(args: &ReplayArgs) -> anyhow::Result<Option<TopicAddress>> {
    let topic = args.paths.iter().find(|path| TopicAddress::is_meant_by(path));
    match (topic, args.topic.given()) {
        (Some(_), _) if args.paths.len() > 1 => {
            bail!("a topic is replayed by itself; leave the other inputs out");
        }
        (Some(topic), _) => Ok(Some(topic.parse().map_err(anyhow::Error::msg)?)),
        (None, Some(option)) => bail!("{option} is for topics: kafka://host:port/topic"),
        (None, None) => Ok(None),
    }
}

/// Opens the source of a topic.
#[cfg(feature = "kafka")]
pub(super) fn open(args: &ReplayArgs, address: &TopicAddress) -> anyhow::Result<Box<dyn Source>> {
    use lapwing_ingest::source::kafka::{KafkaReplayOptions, KafkaReplaySource};

    let source_id = super::given_source_id(args)?.unwrap_or_else(|| address.source_id());
    let mut options = KafkaReplayOptions::new(source_id);
    options.properties.clone_from(&args.topic.properties);
    options.partitioned_by = args.topic.partitioned_by.as_slice().into();
    options.format = super::given_format(args)?;
    options.decode = super::decode_options(args);
    options.batch_rows = args.batch_rows.max(1);
    options.since = args.since;
    options.until = args.until;
    options.ranges.clone_from(&args.topic.offsets);
    Ok(Box::new(KafkaReplaySource::open(address, options)?))
}

/// Says that there is no way to read it.
#[cfg(not(feature = "kafka"))]
pub(super) fn open(_: &ReplayArgs, address: &TopicAddress) -> anyhow::Result<Box<dyn Source>> {
    bail!("{address}: this program was built without the feature kafka, so it reads no topics");
}
