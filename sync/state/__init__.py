"""The state file: what Iterable has, and the backlog. The tables are in schema.sql; these modules work with them.

**A payload is the profile of a person, or an event.** Everything on record belongs to a person: to the user id if rows
give one, otherwise to the address. So a new address changes only the table `name`. Bodies are stored without the
`email` or `userId` with which they begin. A profile is stored without the segment at its end, too, because that depends
on whether the user is in the result when the profile is sent.

**The life of a payload in a run** (`Outbox`; what a run collects is in run.sql):

* *Start* (outcomes.py): what the last run left is settled. After a crash that is all the recovery there is.
* *Load* (comparison.py): each row is compared with what is `known`, and taken into `scan`. A row that is the same as
  when it was delivered is recognised by its raw values; no body is made from it. At the end the newest row of a user
  counts, and the first row of an event.
* *Plan* (backlog.py), in one transaction: who is who, who leaves the segment, and the backlog (`pending`)
  in the order of delivery, a user's payloads side by side. Each gets a `place`, a number larger than all earlier ones.
* *Claim* (claims.py): the next users, or a few events of one user. From here on, nobody knows whether Iterable has it.
* *Outcome* (outcomes.py): each payload's state, by its place. What was certainly not sent is pending as before.
* *End* (outcomes.py): all of it is settled. Delivered payloads go into `known`, sorted by key, and users who are in the
  segment, or may be, into `member`; rejected payloads are set aside, with their bodies; what is unconfirmed is pending,
  and nothing about it counts as known.

**Where membership is remembered.** In the table `member`, for each segment field. Settling writes it (settle.sql).
Besides, a rejection keeps a user whom an earlier attempt may have put in, a change of names moves the membership to
the person's new key (addresses.sql, backlog.sql), and `--repair` restores it (verification.py).

**What the state says of a payload** (a test spells it out):

| in the result | on record | |
|---|---|---|
| yes | the same was delivered | unchanged, no request |
| yes | the same was rejected | rejected, no request unless it is asked for again |
| yes | anything else | pending |
| no | pending | is sent anyway, with the segment false |
| no | a member of the segment | an exit is pending |

**Words.** A *sync* is what one env file describes, its *destination* an Iterable project. A *member* is a user who is
in the segment; an *exit* is the update that tells Iterable that a member no longer is. A payload is *claimed* when it
is handed to the delivery, and *settled* when its outcome is on record.

**What is not supported**: two runs of one sync at a time (the lock of `sync/run` keeps them apart), a connection that
two threads share, and files of versions that were never released. Two syncs may use one file at once: every statement
names its sync, and a writer waits for the other's commit.
"""
