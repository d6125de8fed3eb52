"""Ray behind the Executor protocol. Only this folder names Ray, and importing it does not import Ray."""

from akq_dist.cluster.ray_executor import RayExecutor, RayOptions

__all__ = ["RayExecutor", "RayOptions"]
