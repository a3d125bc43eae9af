"""Third-party metrics that a rule or dashboard may use, by exporter. test_live.py checks that most of them exist.

Tests cannot run cAdvisor or probe a certificate: the names of those metrics come from the exporters' documentation.
"""

from __future__ import annotations

PROMETHEUS = {"up", "ALERTS"}
#: prometheus_client's ProcessCollector, in web and worker.
PROCESS = {"process_cpu_seconds_total", "process_resident_memory_bytes", "process_start_time_seconds"}
FLOWER = {"flower_worker_online", "flower_worker_number_of_currently_executing_tasks", "flower_events_total"}
NODE = {
    "node_cpu_seconds_total",
    "node_memory_MemAvailable_bytes",
    "node_memory_MemTotal_bytes",
    "node_filesystem_avail_bytes",
    "node_filesystem_size_bytes",
}
#: Written by `naru backup` and `naru restore-drill` for node exporter's textfile collector.
TEXT_FILES = {"naru_backup_last_success_timestamp_seconds", "naru_restore_drill_last_success_timestamp_seconds"}
POSTGRES = {"pg_up", "pg_stat_database_numbackends", "pg_settings_max_connections"}
REDIS = {
    "redis_up",
    "redis_memory_used_bytes",
    "redis_memory_max_bytes",
    "redis_aof_last_write_status",
    "redis_aof_last_bgrewrite_status",
}
CADVISOR = {"container_cpu_usage_seconds_total", "container_memory_working_set_bytes", "container_oom_events_total"}
ALERTMANAGER = {"alertmanager_notifications_failed_total"}
BLACKBOX = {"probe_success", "probe_ssl_earliest_cert_expiry"}

ALL = PROMETHEUS | PROCESS | FLOWER | NODE | TEXT_FILES | POSTGRES | REDIS | CADVISOR | ALERTMANAGER | BLACKBOX
