"""Which jobs are asked about alone, and which by their project's listing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from diffio_async._polling import poll_responses
from diffio_async._polling.subscriptions import Group

if TYPE_CHECKING:
    from diffio_async._polling.scheduler import Scheduler
    from diffio_async._polling.subscriptions import Job, Subscription

#: Jobs of one project from which on a listing is worth it.
MIN_GROUP_SIZE = 2


def polled_alone(job: Job) -> bool:
    """Whether a job is asked about by itself."""
    if job.group is None or not job.group.active:
        return True
    return job.alone or job.checking or job.reported_end is not None


def enter(desk: Scheduler, job: Job) -> None:
    """Let a job be served by its project's listings, if its project is known."""
    if all(w.wait.poll_interval is not None or (w.poll_once and w.wait.lone) for w in job.waiters):
        # Whoever has a beat of its own is answered one by one.
        leave(desk, job, job.waiters[0].wait)
        return
    if job.group is not None or not job.api_project_id:
        return
    key = (job.options, job.api_project_id)
    group = desk.groups.get(key)
    if group is None:
        group = desk.groups[key] = Group(api_project_id=job.api_project_id, options=job.options)
    job.group = group
    group.members[job.generation_id] = job
    desk.listed += group.active
    tune(desk, group)
    if group.active and group.task is None:
        # Somebody new wants to know: not later than the shortest pause allows.
        soon = max(job.next, group.responded_at + desk.poller.policy.min_interval)
        if soon < group.due:
            desk.schedule_group(group, soon)


def leave(desk: Scheduler, job: Job, wait: Subscription) -> None:
    """A job is no longer waited for."""
    group = job.group
    if group is None:
        return
    job.group = None
    group.members.pop(job.generation_id, None)
    desk.listed -= group.active
    if group.members:
        tune(desk, group)
    else:
        desk.drop(group, wait)


def tune(desk: Scheduler, group: Group) -> None:
    """Begin or end to list, as there are several members or not."""
    now = desk.loop.time()
    active = len(group.members) >= MIN_GROUP_SIZE and now >= group.paused_until
    if active == group.active:
        return
    group.active = active
    others = len(group.members) - 1
    desk.listed += others if active else -others
    if active:
        for job in group.members.values():
            desk.schedule(job)
        if group.task is None:
            first = min(job.next for job in group.members.values())
            desk.schedule_group(
                group, max(first, group.responded_at + desk.poller.policy.min_interval)
            )
    else:
        group.ticket = 0
        for job in group.members.values():
            if job.task is None:
                poll_responses.schedule_next(desk, job)


def ready(desk: Scheduler, group: Group) -> bool:
    """Whether a group that is due is to be listed; one that was broken may be tried again."""
    if not group.active:
        tune(desk, group)
        return False
    return group.task is None
