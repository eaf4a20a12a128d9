//! What reading a Kafka topic costs at least: librdkafka fetches all partitions from their first
//! record to the end that they have at the start, and each record is only counted. Prints JSON.
//! An example of the program's crate, so that it has the same librdkafka; see benches/README.md.

#![expect(clippy::print_stdout, reason = "a bench prints what it measured")]

use std::fs;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};

/// Ample for one request to a broker that answers.
const REQUEST_WITHIN: Duration = Duration::from_secs(30);
/// The topic was there a moment ago: if nothing more comes for so long, something is broken.
const SILENCE: Duration = Duration::from_secs(60);
/// The unit of CPU times in /proc/self/stat, which on Linux is fixed: USER_HZ.
const TICKS_A_SECOND: f64 = 100.0;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [bootstrap, topic] = &args[..] else {
        eprintln!("expected two arguments: HOST:PORT TOPIC");
        return ExitCode::from(2);
    };
    let began = Instant::now();
    match count(bootstrap, topic) {
        Ok(Counted { records, bytes }) => {
            let (cpu_s, wall_s) = (cpu_s(), began.elapsed().as_secs_f64());
            println!(
                "{{\"records\":{records},\"bytes\":{bytes},\"cpu_s\":{cpu_s:.2},\"wall_s\":{wall_s:.3}}}"
            );
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("topic {topic} at {bootstrap} cannot be read: {error}");
            ExitCode::FAILURE
        }
    }
}

#[derive(Default)]
struct Counted {
    records: u64,
    bytes: u64,
}

fn count(bootstrap: &str, topic: &str) -> Result<Counted, KafkaError> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("group.id", "kafka-floor")
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        // The end of a partition is told after an empty fetch, which waits so long.
        .set("fetch.wait.max.ms", "20")
        .create()?;
    let metadata = consumer.fetch_metadata(Some(topic), REQUEST_WITHIN)?;
    let mut unread = TopicPartitionList::new();
    for partition in metadata.topics().iter().flat_map(|topic| topic.partitions()) {
        unread.add_partition_offset(topic, partition.id(), Offset::Beginning)?;
    }
    consumer.assign(&unread)?;
    let mut ends_to_come = unread.count();
    let mut counted = Counted::default();
    while ends_to_come > 0 {
        match consumer.poll(SILENCE) {
            Some(Ok(record)) => {
                counted.records += 1;
                counted.bytes += record.payload().map_or(0, |value| value.len() as u64);
            }
            Some(Err(KafkaError::PartitionEOF(_))) => ends_to_come -= 1,
            Some(Err(error)) => return Err(error),
            None => return Err(KafkaError::NoMessageReceived),
        }
    }
    Ok(counted)
}

/// User and system time of this process with all its threads.
fn cpu_s() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The name of the program, in brackets, may have blanks; the times are the 14th and 15th field.
    let behind_name = stat.rsplit(") ").next().unwrap_or_default();
    let fields = behind_name.split(' ').skip(11).take(2);
    let ticks: f64 = fields.filter_map(|field| field.parse::<f64>().ok()).sum();
    ticks / TICKS_A_SECOND
}
