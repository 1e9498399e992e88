"""Whether listings can be trusted: now and then single jobs of a group are asked about alone.

The more often that finds an end which the listing had not told, the more are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from diffio_async._engine.pacing.desk import Desk
    from diffio_async._engine.pacing.jobs import Group, Job

#: A single job is checked when it was not for so many of the shortest pauses, or half of its age.
CHECKED = 3.0
#: Single questions for each listing: at least for a large group, and at most.
DOUBT, MOST_DOUBT = 0.1, 8.0


def check_some(desk: Desk, group: Group) -> None:
    """Ask about a few jobs alone."""
    now = desk.loop.time()
    least = max(DOUBT, min(1.0, 5 / max(1, len(group.members))))
    group.doubt = min(MOST_DOUBT, max(group.doubt, least))
    group.credit = min(MOST_DOUBT, group.credit + group.doubt)
    for job in list(group.members.values())[: 2 * int(MOST_DOUBT)]:
        if group.credit < 1:
            break
        # Whoever was looked at goes to the end.
        group.members[job.generation_id] = group.members.pop(job.generation_id)
        since = max(job.answered, job.course.began)
        if (
            now - since < max(CHECKED * desk.pacer.policy.first, 0.5 * (now - job.course.began))
            or job.task is not None
        ):
            continue
        group.credit -= 1
        job.checking, job.next = True, now
        desk.place(job)


def caught(job: Job) -> None:
    """A single question found an end that the listing had not told."""
    if job.checking and job.group is not None:
        job.group.doubt = min(MOST_DOUBT, 4 * max(job.group.doubt, DOUBT))
    job.checking = False


def agreed(job: Job) -> None:
    """A single question found what the listing had told."""
    if job.checking and job.group is not None:
        job.group.doubt *= 0.7
    job.checking = False
