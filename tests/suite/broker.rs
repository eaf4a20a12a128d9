//! A real Apache Kafka broker for the tests: one process for the whole test binary, started by the
//! first test that asks for it, dead with the binary however that ends. Jars come from Maven, once.
//! Records go in here and watermarks come out; reading topics is left to the program under test.

use std::fs::{self, File, OpenOptions};
use std::future::Future;
use std::hash::BuildHasher;
use std::io::{self, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::ops::{Deref, Range};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, LazyLock, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer, ProducerContext, ThreadedProducer};
use rdkafka::{ClientContext, Offset, TopicPartitionList};

/// If this environment variable is set, tests that need a broker fail where they cannot have one.
const REQUIRE: &str = "LAPWING_REQUIRE_KAFKA";
/// The version of the broker, from which Maven derives the jars.
const POM: &str = include_str!("../kafka/pom.xml");
/// Cargo's own folder for what tests leave behind: `cargo clean` empties it.
const KEPT: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/kafka");
/// A start takes 4 s on an idle machine with two cores, and three times that on a busy one.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// One request to a broker that answers; ample for a machine that is busy with other tests.
const REQUEST_WITHIN: Duration = Duration::from_secs(30);
/// How often a start is tried again, if somebody took a port after it was found to be free.
const STARTS: usize = 3;
/// The end of the broker's log that is shown after a failure, bytes: some 60 lines.
const LOG_TAIL: usize = 8 << 10;
/// Below the ports that Linux (from 32768) and macOS (from 49152) give to outgoing connections. A
/// client that reconnects in a loop to a closed port of that range is given the very port at some
/// time, is then connected to itself, and keeps the restarted broker out.
const PORTS: Range<u16> = 15_000..32_000;
/// Any 16 bytes in base64url without padding.
const CLUSTER_ID: &str = "bGFwd2luZy1pbi10ZXN0cw";

/// The user of the listener with SASL, for the mechanisms PLAIN and SCRAM-SHA-256.
pub(crate) const SASL_USER: &str = "lapwing";
/// The password of [`SASL_USER`] with PLAIN.
pub(crate) const PLAIN_PASSWORD: &str = "plain-secret";
/// The password of [`SASL_USER`] with SCRAM-SHA-256.
pub(crate) const SCRAM_PASSWORD: &str = "scram-secret";

static BROKER: LazyLock<Option<RwLock<Broker>>> = LazyLock::new(|| match install() {
    Ok(jars) => Some(RwLock::new(Broker::start(&jars))),
    Err(why) => {
        let todo = "install openjdk-17-jre-headless and maven to run the Kafka tests";
        assert!(std::env::var_os(REQUIRE).is_none(), "{REQUIRE} is set, but {why}; {todo}");
        // Not `eprintln!`, whose text is only shown for tests that fail.
        let _ = writeln!(io::stderr(), "skipped: {why}; {todo}");
        None
    }
});

/// A running broker, on free ports of the loopback, without any topics at first.
pub(crate) struct Broker {
    jars: PathBuf,
    folder: PathBuf,
    ports: Ports,
    process: Child,
    /// Locked as long as this test binary lives, so that later ones see whether the folder is used.
    _in_use: File,
}

#[derive(Clone, Copy)]
struct Ports {
    plaintext: u16,
    sasl: u16,
    controller: u16,
}

/// The broker for one test alone, which may harm it: others wait, and find it running afterwards.
pub(crate) struct Alone(RwLockWriteGuard<'static, Broker>);

/// A record to produce. The rest of a record of which only the value matters is `..Record::default()`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Record {
    /// Chosen by the key's hash if not given.
    pub(crate) partition: Option<i32>,
    pub(crate) key: Option<Vec<u8>>,
    /// A record without a value is a tombstone.
    pub(crate) value: Option<Vec<u8>>,
    /// The moment of producing if not given.
    pub(crate) timestamp_ms: Option<i64>,
    /// Keys are text here; see `raw_record.rs` for others.
    pub(crate) headers: Vec<(String, Option<Vec<u8>>)>,
}

/// A transaction that is open. Dropped without an end it stays open on the broker, until the
/// producer's `transaction.timeout.ms` has passed.
pub(crate) struct Transaction(ThreadedProducer<Deliveries>);

impl Broker {
    /// The broker, together with other tests; `None` if it cannot be had here, which was then said.
    /// To be called once in a test: a second call may wait for a test that waits for this one.
    pub(crate) fn get() -> Option<RwLockReadGuard<'static, Self>> {
        BROKER.as_ref().map(|broker| broker.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The broker for this test alone, to stop, pause and kill it.
    pub(crate) fn get_alone() -> Option<Alone> {
        let broker = BROKER.as_ref()?;
        Some(Alone(broker.write().unwrap_or_else(PoisonError::into_inner)))
    }

    /// The address of the listener without authentication: `127.0.0.1:PORT`.
    pub(crate) fn bootstrap(&self) -> String {
        format!("127.0.0.1:{}", self.ports.plaintext)
    }

    /// The address of the listener with SASL and without TLS.
    pub(crate) fn sasl_bootstrap(&self) -> String {
        format!("127.0.0.1:{}", self.ports.sasl)
    }

    /// The process id of the broker.
    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Creates a topic with its own settings, for instance `("cleanup.policy", "compact")`, and
    /// waits until it can be written to.
    pub(crate) fn create_topic(&self, name: &str, partitions: i32, configs: &[(&str, &str)]) {
        let mut topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
        for (key, value) in configs {
            topic = topic.set(key, value);
        }
        let created = block_on(self.admin().create_topics([&topic], &options()));
        let created = created.unwrap_or_else(|error| panic!("topic {name}: {error}"));
        for result in created {
            result.unwrap_or_else(|(name, error)| panic!("topic {name}: {error}"));
        }
        let consumer = self.consumer();
        let deadline = Instant::now() + REQUEST_WITHIN;
        while !has_leaders(&consumer, Some(name)).unwrap_or(false) {
            assert!(Instant::now() < deadline, "topic {name} has no leader:\n{}", self.log_tail());
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Writes records in batches and waits until the broker has acknowledged all of them. Records of
    /// one partition keep their order.
    pub(crate) fn produce(&self, topic: &str, records: impl IntoIterator<Item = Record>) {
        let producer = self.producer(&[]);
        send(&producer, topic, records);
        flush(&producer);
    }

    /// Opens a transaction. A second one with the same id ends the first.
    pub(crate) fn transaction(&self, transactional_id: &str) -> Transaction {
        let producer = self.producer(&[("transactional.id", transactional_id)]);
        producer.init_transactions(REQUEST_WITHIN).expect("the broker coordinates transactions");
        producer.begin_transaction().expect("no other transaction is open");
        Transaction(producer)
    }

    /// The offset of the first record and the one after the last, of each partition in order.
    pub(crate) fn watermarks(&self, topic: &str) -> Vec<(i64, i64)> {
        let consumer = self.consumer();
        let metadata = consumer.fetch_metadata(Some(topic), REQUEST_WITHIN).expect("metadata");
        let partitions = metadata.topics().iter().map(|topic| topic.partitions().len()).sum();
        (0..partitions)
            .map(|partition| {
                let partition = i32::try_from(partition).expect("few partitions");
                let found = consumer.fetch_watermarks(topic, partition, REQUEST_WITHIN);
                found.unwrap_or_else(|error| panic!("topic {topic}, {partition}: {error}"))
            })
            .collect()
    }

    /// Makes the records before an offset unreadable, as retention does.
    pub(crate) fn delete_records(&self, topic: &str, partition: i32, before_offset: i64) {
        let mut offsets = TopicPartitionList::new();
        let offset = Offset::Offset(before_offset);
        offsets.add_partition_offset(topic, partition, offset).expect("an offset");
        let deleted = block_on(self.admin().delete_records(&offsets, &options()));
        for element in deleted.expect("the broker deletes records").elements() {
            element.error().unwrap_or_else(|error| panic!("topic {topic}, {partition}: {error}"));
        }
    }

    /// Deletes a topic.
    pub(crate) fn delete_topic(&self, name: &str) {
        let deleted = block_on(self.admin().delete_topics(&[name], &options()));
        for result in deleted.expect("the broker deletes topics") {
            result.unwrap_or_else(|(name, error)| panic!("topic {name}: {error}"));
        }
    }

    /// Adds partitions to a topic, up to a new total.
    pub(crate) fn add_partitions(&self, topic: &str, total: usize) {
        let more = rdkafka::admin::NewPartitions::new(topic, total);
        let added = block_on(self.admin().create_partitions([&more], &options()));
        for result in added.expect("the broker adds partitions") {
            result.unwrap_or_else(|(name, error)| panic!("topic {name}: {error}"));
        }
    }

    /// The end of the broker's log.
    pub(crate) fn log_tail(&self) -> String {
        let log = self.log();
        String::from_utf8_lossy(&log[log.len().saturating_sub(LOG_TAIL)..]).into_owned()
    }

    fn log(&self) -> Vec<u8> {
        fs::read(self.folder.join("broker.log")).unwrap_or_default()
    }

    fn start(jars: &Path) -> Self {
        let mut failures = String::new();
        for _ in 0..STARTS {
            let mut broker = Self::prepare(jars);
            match broker.wait_until_ready() {
                Ok(()) => return broker,
                Err(why) => failures = why,
            }
            let _ = broker.process.kill();
            let _ = broker.process.wait();
            if !String::from_utf8_lossy(&broker.log()).contains("Address already in use") {
                break;
            }
        }
        panic!("{failures}");
    }

    /// A broker on free ports and in a fresh folder, begun but not yet ready.
    fn prepare(jars: &Path) -> Self {
        let (folder, in_use) = fresh_folder().expect("a folder for the broker");
        let [plaintext, sasl, controller] = free_ports();
        let ports = Ports { plaintext, sasl, controller };
        let settings = folder.join("server.properties");
        fs::write(&settings, server_properties(&folder, ports)).expect("the broker's settings");
        let formatted = java(jars)
            .args(["kafka.tools.StorageTool", "format", "--standalone", "-t", CLUSTER_ID])
            .args([
                "--add-scram",
                &format!("SCRAM-SHA-256=[name={SASL_USER},password={SCRAM_PASSWORD}]"),
            ])
            .arg("-c")
            .arg(&settings)
            .output()
            .expect("java starts");
        assert!(
            formatted.status.success(),
            "the broker's folder cannot be formatted:\n{}{}",
            String::from_utf8_lossy(&formatted.stdout),
            String::from_utf8_lossy(&formatted.stderr)
        );
        let process = run(jars, &folder);
        Self { jars: jars.to_owned(), folder, ports, process, _in_use: in_use }
    }

    /// Waits until a metadata request is answered and each partition has a leader; an open port
    /// is not enough.
    fn wait_until_ready(&mut self) -> Result<(), String> {
        let consumer = self.consumer();
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            if has_leaders(&consumer, None).unwrap_or(false) {
                return Ok(());
            }
            let ended = self.process.try_wait().expect("a child");
            let why = match ended {
                Some(status) => format!("the broker ended with {status}"),
                None if Instant::now() > deadline => {
                    format!("the broker did not answer within {READY_WITHIN:?}")
                }
                None => continue,
            };
            return Err(format!("{why}; the end of its log:\n{}", self.log_tail()));
        }
    }

    fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.bootstrap());
        // A broker that has just started is found at once.
        config.set("reconnect.backoff.ms", "50").set("reconnect.backoff.max.ms", "200");
        config
    }

    fn consumer(&self) -> BaseConsumer {
        self.client().create().expect("a consumer")
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        self.client().create().expect("an admin client")
    }

    fn producer(&self, configs: &[(&str, &str)]) -> ThreadedProducer<Deliveries> {
        let mut config = self.client();
        config.set("enable.idempotence", "true").set("linger.ms", "5");
        // The same partition for the same key as Kafka's own clients.
        config.set("partitioner", "murmur2_random");
        for (key, value) in configs {
            config.set(*key, *value);
        }
        config.create_with_context(Deliveries::default()).expect("a producer")
    }
}

impl Alone {
    /// Kills the broker on the spot and starts it again, on the same folder and the same ports.
    pub(crate) fn kill_and_restart(&mut self) {
        self.kill();
        self.start_again();
    }

    /// Kills the broker on the spot.
    pub(crate) fn kill(&mut self) {
        self.0.process.kill().expect("killed");
        self.0.process.wait().expect("a child");
    }

    /// Starts the broker again after `kill`, and waits until it answers.
    pub(crate) fn start_again(&mut self) {
        self.0.process = run(&self.0.jars, &self.0.folder);
        self.0.wait_until_ready().unwrap_or_else(|why| panic!("{why}"));
    }

    /// Freezes the broker: connections stay open, nothing is answered.
    pub(crate) fn pause(&self) {
        self.signal("-STOP");
    }

    /// Lets a frozen broker go on.
    pub(crate) fn resume(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, name: &str) {
        let pid = self.0.pid().to_string();
        let status = Command::new("kill").args([name, &pid]).status().expect("kill");
        assert!(status.success(), "kill {name} {pid}");
    }
}

impl Deref for Alone {
    type Target = Broker;

    fn deref(&self) -> &Broker {
        &self.0
    }
}

/// The next test finds a broker that runs, even if this one has failed.
impl Drop for Alone {
    fn drop(&mut self) {
        if matches!(self.0.process.try_wait(), Ok(None)) {
            self.resume();
        } else if !thread::panicking() {
            self.start_again();
        } else {
            // A second panic would end the test binary; the next test reports what is wrong.
            self.0.process = run(&self.0.jars, &self.0.folder);
            let _ = self.0.wait_until_ready();
        }
    }
}

impl Record {
    /// A record with a key and a value.
    pub(crate) fn new(key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> Self {
        Self { key: Some(key.into()), value: Some(value.into()), ..Self::default() }
    }

    /// The same in a partition of the caller's choice.
    pub(crate) fn on(self, partition: i32) -> Self {
        Self { partition: Some(partition), ..self }
    }
}

impl Transaction {
    /// Adds records and waits until they are in the log, where readers of committed records do not
    /// see them yet.
    pub(crate) fn produce(&self, topic: &str, records: impl IntoIterator<Item = Record>) {
        send(&self.0, topic, records);
        flush(&self.0);
    }

    /// Makes the records visible.
    pub(crate) fn commit(self) {
        self.0.commit_transaction(REQUEST_WITHIN).expect("committed");
    }

    /// Makes the records void; they stay in the log.
    pub(crate) fn abort(self) {
        self.0.abort_transaction(REQUEST_WITHIN).expect("aborted");
    }
}

/// Remembers the first record that was not delivered.
#[derive(Default)]
pub(crate) struct Deliveries(OnceLock<KafkaError>);

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, _)) = result {
            let _ = self.0.set(error.clone());
        }
    }
}

/// Queues records; waits where the producer's queue is full.
fn send(
    producer: &ThreadedProducer<Deliveries>,
    topic: &str,
    records: impl IntoIterator<Item = Record>,
) {
    for Record { partition, key, value, timestamp_ms, headers } in records {
        let mut record = BaseRecord::<[u8], [u8]>::to(topic);
        record.partition = partition;
        record.key = key.as_deref();
        record.payload = value.as_deref();
        record.timestamp = timestamp_ms;
        if !headers.is_empty() {
            let list = OwnedHeaders::new_with_capacity(headers.len());
            record.headers = Some(headers.iter().fold(list, |list, (key, value)| {
                list.insert(Header { key, value: value.as_deref() })
            }));
        }
        while let Err((error, returned)) = producer.send(record) {
            let is_full = error.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull);
            assert!(is_full, "topic {topic}: {error}");
            thread::sleep(Duration::from_millis(1));
            record = returned;
        }
    }
}

/// Waits until every record was acknowledged.
fn flush(producer: &ThreadedProducer<Deliveries>) {
    producer.flush(REQUEST_WITHIN).expect("the broker takes the records");
    if let Some(error) = producer.context().0.get() {
        panic!("a record was not delivered: {error}");
    }
}

/// Whether the broker answers, and each partition of a topic, or of all, has a leader.
fn has_leaders(consumer: &BaseConsumer, topic: Option<&str>) -> Result<bool, KafkaError> {
    let metadata = consumer.fetch_metadata(topic, Duration::from_millis(500))?;
    let mut partitions = metadata.topics().iter().flat_map(|topic| topic.partitions());
    let are_known = metadata.topics().iter().all(|topic| topic.error().is_none());
    Ok(!metadata.brokers().is_empty() && are_known && partitions.all(|p| p.leader() >= 0))
}

fn options() -> AdminOptions {
    AdminOptions::new()
        .request_timeout(Some(REQUEST_WITHIN))
        .operation_timeout(Some(REQUEST_WITHIN))
}

/// The settings of a single broker that keeps up with tests: no waiting for more members of a group,
/// short sessions, retention and compaction at once, small internal topics.
fn server_properties(folder: &Path, ports: Ports) -> String {
    let Ports { plaintext, sasl, controller } = ports;
    let data = folder.join("data");
    let login = "org.apache.kafka.common.security";
    format!(
        "process.roles=broker,controller\n\
         node.id=1\n\
         controller.quorum.bootstrap.servers=127.0.0.1:{controller}\n\
         listeners=PLAINTEXT://127.0.0.1:{plaintext},SASL://127.0.0.1:{sasl},CONTROLLER://127.0.0.1:{controller}\n\
         advertised.listeners=PLAINTEXT://127.0.0.1:{plaintext},SASL://127.0.0.1:{sasl}\n\
         listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SASL:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT\n\
         inter.broker.listener.name=PLAINTEXT\n\
         controller.listener.names=CONTROLLER\n\
         sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256\n\
         listener.name.sasl.plain.sasl.jaas.config={login}.plain.PlainLoginModule required user_{SASL_USER}=\"{PLAIN_PASSWORD}\";\n\
         listener.name.sasl.scram-sha-256.sasl.jaas.config={login}.scram.ScramLoginModule required;\n\
         log.dirs={}\n\
         auto.create.topics.enable=false\n\
         offsets.topic.replication.factor=1\n\
         offsets.topic.num.partitions=4\n\
         transaction.state.log.replication.factor=1\n\
         transaction.state.log.min.isr=1\n\
         transaction.state.log.num.partitions=4\n\
         group.initial.rebalance.delay.ms=0\n\
         group.min.session.timeout.ms=1000\n\
         # Simulated events may be older than any default; topics set what they need.\n\
         log.retention.ms=-1\n\
         log.initial.task.delay.ms=500\n\
         log.retention.check.interval.ms=500\n\
         log.cleaner.backoff.ms=500\n\
         log.segment.delete.delay.ms=100\n\
         # After a kill the controller waits so long before it takes the broker back.\n\
         broker.session.timeout.ms=3000\n\
         broker.heartbeat.interval.ms=500\n",
        data.display()
    )
}

/// A java process with the broker's jars.
fn java(jars: &Path) -> Command {
    // The kernel kills it when its parent is gone, whatever became of that.
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "java"]);
    // Quick to start and small: one thread that collects garbage, no second compiler, and no file of
    // counters, which a killed process leaves behind in /tmp.
    command.args(["-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData"]);
    // The settings, some 300 lines, would fill the part of the log that is shown.
    command.arg("-Dorg.slf4j.simpleLogger.log.org.apache.kafka.common.config=warn");
    command.arg("-Dorg.slf4j.simpleLogger.showDateTime=true");
    command.arg("-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS");
    command.arg("-cp").arg(jars.join("*"));
    command
}

/// Runs the broker of a folder, whose log grows in `broker.log`.
fn run(jars: &Path, folder: &Path) -> Child {
    let log = OpenOptions::new().create(true).append(true).open(folder.join("broker.log"));
    let log = log.expect("the broker's log");
    let mut command = java(jars);
    command.arg("kafka.Kafka").arg(folder.join("server.properties"));
    command.stdin(Stdio::null()).stdout(log.try_clone().expect("a handle")).stderr(log);
    // To the kernel the parent is the thread that starts a process, and a test's thread ends with its
    // test: the broker belongs to a thread of its own, which ends only with the test binary.
    let (sender, receiver) = std::sync::mpsc::channel();
    thread::spawn(move || {
        let _ = sender.send(command.spawn());
        loop {
            thread::park();
        }
    });
    receiver.recv().expect("the thread answers").expect("java starts")
}

/// Ports that nobody listens at. They are taken by the broker only later; see `STARTS`.
fn free_ports<const N: usize>() -> [u16; N] {
    // Test binaries that run at the same time begin at different places.
    let random = std::hash::RandomState::new().hash_one(std::process::id());
    let range = u64::from(PORTS.end - PORTS.start);
    let first = PORTS.start + u16::try_from(random % range).expect("below the range's length");
    let mut found = (first..PORTS.end)
        .chain(PORTS.start..first)
        .filter(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok());
    std::array::from_fn(|_| found.next().expect("a free port"))
}

/// A folder for this broker, after the folders of brokers whose test binaries are gone were removed.
fn fresh_folder() -> io::Result<(PathBuf, File)> {
    let brokers = Path::new(KEPT).join("brokers");
    fs::create_dir_all(&brokers)?;
    let _guard = locked(&brokers.join("lock"))?;
    for entry in fs::read_dir(&brokers)? {
        let old = entry?.path();
        let is_used = || File::open(old.join("in-use")).is_ok_and(|file| file.try_lock().is_err());
        if old.is_dir() && !is_used() {
            fs::remove_dir_all(&old)?;
        }
    }
    let folder = tempfile::Builder::new().prefix("broker-").tempdir_in(&brokers)?.keep();
    let in_use = locked(&folder.join("in-use"))?;
    Ok((folder, in_use))
}

/// Waits for the lock of a file, which is free again as soon as the handle or this process is gone.
fn locked(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().create(true).append(true).open(path)?;
    file.lock()?;
    Ok(file)
}

/// The folder with the broker's jars, which Maven fetches the first time; or what is missing.
fn install() -> Result<PathBuf, String> {
    is_there("java", "-version")?;
    is_there("setpriv", "--version").map_err(|why| format!("{why} (a part of util-linux)"))?;
    let folder = Path::new(KEPT);
    let unusable = |error: io::Error| format!("{} cannot be used: {error}", folder.display());
    fs::create_dir_all(folder).map_err(unusable)?;
    // Several test binaries may start at the same time; one of them fetches.
    let _guard = locked(&folder.join("lock")).map_err(unusable)?;
    let (jars, pom, complete) =
        (folder.join("jars"), folder.join("pom.xml"), folder.join("complete"));
    if fs::read_to_string(&complete).is_ok_and(|fetched| fetched == POM) {
        return Ok(jars);
    }
    is_there("mvn", "-version")?;
    if jars.exists() {
        fs::remove_dir_all(&jars).map_err(unusable)?;
    }
    fs::write(&pom, POM).map_err(unusable)?;
    let fetched = Command::new("mvn")
        .args(["-q", "-B", "dependency:copy-dependencies", "-DincludeScope=runtime", "-f"])
        .arg(&pom)
        .arg(format!("-DoutputDirectory={}", jars.display()))
        .output()
        .map_err(|error| format!("mvn does not start: {error}"))?;
    if !fetched.status.success() {
        let said = String::from_utf8_lossy(&fetched.stdout).into_owned();
        return Err(format!("Maven could not fetch Kafka:\n{said}"));
    }
    fs::write(&complete, POM).map_err(unusable)?;
    Ok(jars)
}

fn is_there(program: &str, option: &str) -> Result<(), String> {
    let mut command = Command::new(program);
    command.arg(option).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let runs = command.status().is_ok_and(|status| status.success());
    if runs { Ok(()) } else { Err(format!("{program} is missing")) }
}

/// Waits for one answer of the admin client, whose own thread wakes this one.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = std::pin::pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(answer) => return answer,
            Poll::Pending => thread::park(),
        }
    }
}
