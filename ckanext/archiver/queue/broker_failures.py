"""What a broker says when it does not take messages, and what mends it."""

from __future__ import annotations

from ckanext.archiver import config
from ckanext.archiver.errors import BrokerError

CLUSTER = (
    "The broker is a Redis Cluster, which kombu cannot use: name a Redis without cluster mode, or with Sentinel, in "
    "ckanext-archiver.broker_url."
)
_OF_CLUSTER = ("MOVED ", "CROSSSLOT", "CLUSTERDOWN", "cluster mode")

OTHER_QUEUE_TYPE = (
    "RabbitMQ has a queue of this name that is no quorum queue: delete it with rabbitmqctl delete_queue NAME, nothing "
    "is lost by that ({error})"
)

_PASSWORD = "Correct the user and the password in {option}."  # noqa: S105 - a sentence

REFUSALS = {
    # Redis
    "MISCONF": 'Make room on the disk of Redis, which cannot write its snapshot, or let it keep none: save "" in '
    "redis.conf. The archiver loses nothing by that.",
    "used memory > 'maxmemory'": "Give Redis more memory (maxmemory in redis.conf), or look at what else it holds: the "
    "archiver's messages are ids only.",
    "read only replica": "This Redis is a replica, which takes no messages: name the primary in {option}.",
    "invalid username-password pair": _PASSWORD,
    "Authentication required": "Add the password to {option}: redis://:PASSWORD@HOST:6379/0",
    "has no permissions": "Let this user of Redis write the keys of the archiver: ACL SETUSER NAME ~* &* +@all",
    "DB index is out of range": "Name a database that Redis has (0 to 15, by default) in {option}.",
    # RabbitMQ
    "ACCESS_REFUSED": _PASSWORD,
    "NOT_ALLOWED": "Make the virtual host, and let the user use it: rabbitmqctl add_vhost and set_permissions.",
}
"""What a broker says that answers and takes no message, and what mends it. The words are those that are left of it by
redis-py, which takes some codes (``OOM``, ``NOPERM``) away. ``{option}`` is the option that names the broker."""


def named(error: Exception) -> BrokerError:
    """What went wrong, and where it is known what mends it."""
    text = str(error)
    if is_cluster(error):
        return BrokerError(CLUSTER)
    if "x-queue-type" in text:
        return BrokerError(OTHER_QUEUE_TYPE.format(error=text))
    for word, remedy in REFUSALS.items():
        if word in text:
            return BrokerError(
                f"The broker refuses messages: {text.split('. ')[0]}", remedy.format(option=config.broker_option())
            )
    return BrokerError(f"The broker does not answer: {text}")


def is_cluster(error: Exception) -> bool:
    """Whether this is what a Redis Cluster says to a client that knows none."""
    return any(word in str(error) for word in _OF_CLUSTER)
