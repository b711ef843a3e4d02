"""The Lua of the Valkey ledger that reads, and that makes a stale balance fresh; see `valkey_scripts`."""

from __future__ import annotations

from costguard.ledger.valkey_scripts import EPOCH

READ = (
    "#!lua\n"
    + EPOCH
    + """
local stale, standings = {'stale'}, {'ok'}
for place = 2, #KEYS do
    local found = redis.call('HMGET', KEYS[place], 'e', 's', 'h')
    if found[1] ~= epoch then stale[#stale + 1] = place - 2 end
    standings[#standings + 1] = found[2]
    standings[#standings + 1] = found[3]
end
return #stale > 1 and stale or standings
"""
)
"""KEYS: epoch, balances. ARGV: a new epoch."""

PEEK = (
    "#!lua\n"
    + EPOCH
    + """
local found = {epoch}
for place = 2, #KEYS do found[#found + 1] = redis.call('HMGET', KEYS[place], 'r', 'a', 'z', 'n') end
return found
"""
)
"""KEYS: epoch, holds or charges. ARGV: a new epoch."""

LOOK = (
    "#!lua\n"
    + EPOCH
    + """
if redis.call('HGET', KEYS[2], 'e') == epoch then return {'fresh'} end
local found = {'stale', epoch, redis.call('HGET', KEYS[2], 'v') or '0'}
for _, field in ipairs(redis.call('HKEYS', KEYS[2])) do
    if string.sub(field, 1, 2) == 'w:' then found[#found + 1] = string.sub(field, 3) end
end
return found
"""
)
"""KEYS: epoch, balance. ARGV: a new epoch."""

INSTALL = (
    "#!lua\n"
    + EPOCH
    + """
if redis.call('HGET', KEYS[2], 'e') == epoch then return 'fresh' end
if epoch ~= ARGV[2] or (redis.call('HGET', KEYS[2], 'v') or '0') ~= ARGV[3] then return 'again' end
redis.call('HSET', KEYS[2], 'e', epoch, 's', ARGV[4])
if redis.call('HEXISTS', KEYS[2], 'g') == 0 then redis.call('HSET', KEYS[2], 'g', ARGV[5], 'h', '0') end
redis.call('PEXPIRE', KEYS[2], ARGV[6], 'NX')
return 'fresh'
"""
)
"""KEYS: epoch, balance. ARGV: a new epoch, the epoch and the v that were seen, what the ledger says is spent, a
generation, milliseconds that a balance is kept."""

VOID = """#!lua
for place, id in ipairs(ARGV) do
    redis.call('HDEL', KEYS[1], 'w:' .. id)
    if redis.call('HGET', KEYS[1 + place], 't') == '1' then redis.call('HSET', KEYS[1 + place], 't', 'void') end
end
return 'ok'
"""
"""Settlements that take too long: their balances are read anew once more when they end. KEYS: balance, holds.
ARGV: the ids."""
