"""Every setting of Naru: its variable, default, unit and bounds.

Nothing is read at import: an entry point calls `load_settings()` once and passes the value on. Any variable may be
given as `X_FILE`, the path of a file that holds the value (mounted secrets). `deploy/` decides which process gets
which settings.

    servers, providers, web, worker, answers, processes, live, keeping, backups, people,
    spending, openid, mail, clients
               one group of settings each
    field      how a setting is declared
    settings   all groups, and the rules between them
    reading    environment, files, parsing

May import errors, keys, addresses and vendors.
"""

from shared.settings.answers import VISIBILITY_TIMEOUT_SECONDS as VISIBILITY_TIMEOUT_SECONDS
from shared.settings.field import PLAIN_NAMES as PLAIN_NAMES
from shared.settings.field import variable_of as variable_of
from shared.settings.mail import NO_TLS as NO_TLS
from shared.settings.mail import STARTTLS as STARTTLS
from shared.settings.mail import TLS as TLS
from shared.settings.openid import ANYONE as ANYONE
from shared.settings.people import ADMINS as ADMINS
from shared.settings.people import EVERYONE as EVERYONE
from shared.settings.people import GUEST as GUEST
from shared.settings.people import LOCAL as LOCAL
from shared.settings.people import LOCAL_OIDC as LOCAL_OIDC
from shared.settings.people import OIDC as OIDC
from shared.settings.people import OPEN as OPEN
from shared.settings.people import OPTIONAL as OPTIONAL
from shared.settings.reading import environment as environment
from shared.settings.reading import load_settings as load_settings
from shared.settings.settings import Settings as Settings
from shared.settings.spending import CURRENCY as CURRENCY
from shared.settings.spending import REFUSE as REFUSE
from shared.settings.web import STRONGER_KEY as STRONGER_KEY
from shared.settings.worker import CLOSE_SECONDS as CLOSE_SECONDS
