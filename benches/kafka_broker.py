"""A real Apache Kafka broker for the benches: one process on free ports of the loopback.

The jars are those of the tests (tests/kafka/pom.xml), fetched by Maven into target/tmp/kafka, once.
Needs Java 17 or later, Maven and util-linux. The broker dies with the process that started it.
"""

import fcntl
import pathlib
import random
import shutil
import signal
import socket
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
POM = ROOT / "tests" / "kafka" / "pom.xml"
KEPT = ROOT / "target" / "tmp" / "kafka"
READY_WITHIN_S = 60
STOPPED_WITHIN_S = 20
# Any 16 bytes in base64url without padding.
CLUSTER_ID = "bGFwd2luZy1iZW5jaC0wMQ"

SETTINGS = """\
process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers=127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
log.dirs={data}
auto.create.topics.enable=false
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
log.retention.ms=-1
"""


class Broker:
    """`with Broker(folder) as broker:` starts it, and stops it at the end."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        self.log = folder / "broker.log"
        self.port, self.controller = free_ports(2)
        self.bootstrap = f"127.0.0.1:{self.port}"
        self.process = None
        # A client that makes and deletes topics; its futures only answer as long as it is there.
        self.admin = None

    def __enter__(self) -> "Broker":
        jars = install()
        self.folder.mkdir(parents=True, exist_ok=True)
        settings = self.folder / "server.properties"
        settings.write_text(SETTINGS.format(
            port=self.port, controller=self.controller, data=self.folder / "data"))
        run([*java(jars), "kafka.tools.StorageTool", "format", "--standalone", "-t", CLUSTER_ID,
             "-c", settings])
        with self.log.open("wb") as log:
            self.process = subprocess.Popen([*java(jars), "kafka.Kafka", settings],
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            self.wait_until_ready()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(STOPPED_WITHIN_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def wait_until_ready(self) -> None:
        """Until a metadata request is answered; an open port is not enough."""
        from confluent_kafka import KafkaException  # From the benches' virtual environment.
        from confluent_kafka.admin import AdminClient

        # While nothing answers, it would say so every second.
        quiet = {"log_level": 0, "reconnect.backoff.max.ms": 200}
        self.admin = AdminClient({"bootstrap.servers": self.bootstrap, **quiet})
        deadline = time.monotonic() + READY_WITHIN_S
        while True:
            try:
                if self.admin.list_topics(timeout=1).brokers:
                    return
            except KafkaException:
                pass
            if self.process.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"the broker did not start:\n{self.log.read_text()[-8192:]}")


def java(jars: pathlib.Path) -> list:
    """A java process with the broker's jars, which the kernel kills when this one is gone."""
    return ["setpriv", "--pdeathsig", "KILL", "java", "-Xmx1g", "-XX:-UsePerfData",
            "-Dorg.slf4j.simpleLogger.log.org.apache.kafka.common.config=warn",
            "-cp", f"{jars}/*"]


def free_ports(number: int) -> list:
    """Ports that nobody listens at, below those that the system gives to outgoing connections."""
    found = []
    while len(found) < number:
        port = random.randrange(15_000, 32_000)
        with socket.socket() as tried:
            try:
                tried.bind(("127.0.0.1", port))
            except OSError:
                continue
        if port not in found:
            found.append(port)
    return found


def install() -> pathlib.Path:
    """The folder with the jars; the tests' broker (tests/suite/broker.rs) has the same."""
    for program in ["java", "setpriv"]:
        if not shutil.which(program):
            sys.exit(f"{program} is missing; install openjdk-17-jre-headless, maven and util-linux")
    KEPT.mkdir(parents=True, exist_ok=True)
    jars, pom, complete = KEPT / "jars", KEPT / "pom.xml", KEPT / "complete"
    with (KEPT / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if complete.exists() and complete.read_bytes() == POM.read_bytes():
            return jars
        if not shutil.which("mvn"):
            sys.exit("mvn is missing; install maven")
        shutil.rmtree(jars, ignore_errors=True)
        pom.write_bytes(POM.read_bytes())
        run(["mvn", "-q", "-B", "dependency:copy-dependencies", "-DincludeScope=runtime",
             "-f", pom, f"-DoutputDirectory={jars}"])
        complete.write_bytes(POM.read_bytes())
    return jars


def run(command: list) -> None:
    """Runs a command to its end, and shows what it said only if it failed."""
    command = [str(part) for part in command]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    if ran.returncode:
        sys.exit(f"{' '.join(command)} ended with {ran.returncode}:\n{ran.stdout}{ran.stderr}")
