"""Backups: where they are kept, for how long, and the bucket that they are copied to."""

from __future__ import annotations

from dataclasses import dataclass

from shared.settings.field import setting


@dataclass(frozen=True, kw_only=True)
class Backups:
    """Settings of `naru backup`, `restore` and `restore-drill`."""

    backup_dir: str = setting("", "Folder for backups; empty: backups/ in the data folder")
    backup_key: str = setting(
        "",
        "Encrypts backups; make one with `./naru backup --new-key FILE` and give it as a file",
        secret=True,
        kind="key",
    )
    backup_keep_daily: int = setting(7, "Number of days for which the newest backup is kept", least=0)
    backup_keep_weekly: int = setting(4, "Number of weeks for which the newest backup is kept", least=0)
    backup_keep_monthly: int = setting(12, "Number of months for which the newest backup is kept", least=0)
    backup_seconds: float = setting(14_400.0, "Longest duration of a backup, a restore or a drill", least=1.0)
    backup_metrics_dir: str = setting(
        "", "Folder of node exporter's textfile collector; empty: the folder of the backups"
    )
    backup_s3_endpoint: str = setting("", "Address of the S3 server that backups are copied to", kind="http")
    backup_s3_bucket: str = setting("", "Bucket on that server")
    backup_s3_prefix: str = setting("naru/", "Prefix of the names in the bucket")
    backup_s3_region: str = setting("us-east-1", "Region of the bucket")
    backup_s3_access_key: str = setting("", "Access key for the bucket", secret=True, kind="key")
    backup_s3_secret_key: str = setting("", "Secret key for the bucket", secret=True, kind="key")
