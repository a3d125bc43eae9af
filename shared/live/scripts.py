"""The Lua scripts with which the publisher writes to the live streams, one round trip for a whole flush."""

from __future__ import annotations

#: Keeps an entry out of Redis's append-only file and out of replication: see decision 0024. A server that refuses this
#: writes the entry like any other.
_PASSING = "pcall(redis.set_repl, redis.REPL_NONE)\n"
#: Appends each delta to its stream and returns the numbers of the missing streams; those get a snapshot. One
#: command serves all deltas: a command and a reply for each took a third of a token's cost in a worker (decision 0013).
APPEND = (
    _PASSING
    + """
local missing = {}
for i = 1, #KEYS do
  if not redis.call('XADD', KEYS[i], 'NOMKSTREAM', '*', 'd', ARGV[i]) then
    missing[#missing + 1] = i
  end
end
return missing
"""
)
#: Appends any other entry. A snapshot replaces everything before it, so the stream is trimmed to it. A thought must not
#: begin a stream that is missing, or the next delta would not find that text is missing; it returns 1.
PUT = (
    _PASSING
    + """
if ARGV[1] == 'n' then
  redis.call('XADD', KEYS[1], 'MAXLEN', 1, '*', ARGV[1], ARGV[2])
elseif ARGV[1] == 't' then
  if not redis.call('XADD', KEYS[1], 'NOMKSTREAM', '*', ARGV[1], ARGV[2]) then
    return 1
  end
else
  redis.call('XADD', KEYS[1], '*', ARGV[1], ARGV[2])
end
redis.call('EXPIRE', KEYS[1], ARGV[3])
"""
)
