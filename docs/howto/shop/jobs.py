from aiodjango.broadcast import publish

from .models import Job


def run_job(pk):  # in a task queue: with Celery, under @shared_task
    job = Job.objects.get(pk=pk)
    while job.done < job.total:
        # one part of the work
        job.done += 1
        job.save()
        publish(f"job-{pk}", {"done": job.done, "total": job.total})
