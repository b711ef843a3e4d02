"""The Lua of the Valkey ledger: one script for each step of a verb, atomic on the server.

Every key is given in KEYS, none is made inside, and all of one ledger share a hash tag, hence a slot: the scripts
run on a cluster. KEYS[1] is the epoch: a random word that is gone when the server has lost its data. A balance
is valid while it carries the epoch's word, else it is stale, and no script but `INSTALL` (`valkey_refresh`) makes it
valid again.

A Lua number is a double, exact up to 2^53 only, that is $9,007,199 in nano-dollars. So amounts stay text: they are
added by HINCRBY, which has 64 bits, and compared in two halves of nine digits (`over`, `less`).

A balance (hash):  s spent, h held, g its generation, e the epoch it is valid in, v changed by what a reading of the
                   ledger may have missed, w:<id> a call that is being settled
A hold (hash):     r what it is (JSON, see `valkey_record`), m "amount,tokens", a and g amounts and generations of its
                   balances, z made by a settlement, n the entry's id, t "" held, "1" being settled, "void" of which
                   nobody can tell what the ledger has counted: its balances are read anew when it ends
A charge (hash):   r what a `lost` or `pending` entry counts on, a the amounts of it
"""

from __future__ import annotations

EPOCH = """
local epoch = redis.call('GET', KEYS[1])
if not epoch then
    epoch = ARGV[1]
    redis.call('SET', KEYS[1], epoch)
end
"""

_SPLIT = """
local function split(text)
    local parts = {}
    for part in string.gmatch(text or '', '[^,]+') do parts[#parts + 1] = part end
    return parts
end
"""

_BLUR = """
local function blur(key)
    redis.call('HDEL', key, 'e')
    redis.call('HINCRBY', key, 'v', 1)
    redis.call('PEXPIRE', key, ARGV[2], 'NX')
end
"""

_FREE = """
local function free(balances, amounts, generations)
    for place, key in ipairs(balances) do
        local amount = amounts[place]
        if amount and amount ~= '0' and redis.call('HGET', key, 'g') == generations[place] then
            redis.call('HINCRBY', key, 'h', '-' .. amount)
        end
    end
end
"""

RESERVE = (
    "#!lua\n"
    + EPOCH
    + """
local function halves(text)
    local sign = 1
    if string.sub(text, 1, 1) == '-' then sign, text = -1, string.sub(text, 2) end
    if #text < 10 then return 0, sign * tonumber(text) end
    return sign * tonumber(string.sub(text, 1, -10)), sign * tonumber(string.sub(text, -9))
end
local function over(spent, held, amount, most)
    local high, low = halves(most)
    high, low = -high, -low
    for _, text in ipairs({spent, held, amount}) do
        local more, less = halves(text)
        high, low = high + more, low + less
    end
    local carry = math.floor(low / 1e9)
    high, low = high + carry, low - carry * 1e9
    return high > 0 or (high == 0 and low > 0)
end
local known = redis.call('HGET', KEYS[3], 'm')
if known then return {'known', known} end
local stale, standings, full, generations = {'stale'}, {'full'}, false, {}
for place = 4, #KEYS do
    local found = redis.call('HMGET', KEYS[place], 'e', 's', 'h', 'g')
    if found[1] ~= epoch then
        stale[#stale + 1] = place - 4
    else
        standings[#standings + 1] = found[2]
        standings[#standings + 1] = found[3]
        generations[#generations + 1] = found[4]
        full = full or over(found[2], found[3], ARGV[2 * place - 1], ARGV[2 * place])
    end
end
if #stale > 1 then return stale end
if full then return standings end
local amounts = {}
for place = 4, #KEYS do
    local amount = ARGV[2 * place - 1]
    amounts[#amounts + 1] = amount
    redis.call('HINCRBY', KEYS[place], 'h', amount)
    redis.call('PEXPIRE', KEYS[place], ARGV[4], 'GT')
end
redis.call('HSET', KEYS[3], 'r', ARGV[5], 'm', ARGV[6], 'a', table.concat(amounts, ','),
    'g', table.concat(generations, ','), 't', '')
redis.call('ZADD', KEYS[2], ARGV[3], ARGV[2])
return {'ok'}
"""
)
"""KEYS: epoch, expiries, hold, balances. ARGV: a new epoch, id, expiry (us), milliseconds that the balances are
kept, r, m, and of each balance the amount and the limit."""

BEGIN = (
    "#!lua\n"
    + EPOCH
    + """
local stale = {'stale'}
for place = 3, 2 + ARGV[2] do
    if redis.call('HGET', KEYS[place], 'e') ~= epoch then stale[#stale + 1] = place - 3 end
end
if #stale > 1 then return stale end
local states = {'ok', epoch}
for _, item in ipairs(cjson.decode(ARGV[3])) do
    local hold = KEYS[item.h]
    local found = redis.call('HMGET', hold, 't', 'n')
    local mode, state = found[1], found[1]
    if item.due then
        local expiry = redis.call('ZSCORE', KEYS[2], item.id)
        if not mode then redis.call('ZREM', KEYS[2], item.id) end
        if not (mode and expiry and tonumber(expiry) <= item.due) then state = 'gone' end
    end
    if state == '' then
        state, mode = 'held', '1'
        redis.call('HSET', hold, 't', mode, 'n', item.n)
    elseif not state then
        state, mode = 'new', 'void'
        if item.drawn or redis.call('EXISTS', KEYS[item.c]) == 1 then mode = '1' end
        redis.call('HSET', hold, 'r', item.r, 'm', '0,0', 'a', item.a, 'g', item.a, 't', mode, 'n', item.n, 'z', '1')
        redis.call('ZADD', KEYS[2], item.x, item.id)
    elseif state ~= 'gone' and found[2] ~= item.n then
        mode = 'void'
        redis.call('HSET', hold, 't', mode)
    end
    if state ~= 'gone' and mode == '1' then
        for _, place in ipairs(item.b) do redis.call('HSET', KEYS[place], 'w:' .. item.id, '1') end
    end
    states[#states + 1] = state
end
return states
"""
)
"""Says, before the ledger is written, which calls are being settled: a reading of the ledger tells nothing of
these. KEYS: epoch, expiries, balances, holds and charges. ARGV: a new epoch, the number of balances, the calls."""

FINISH = (
    "#!lua flags=allow-oom\n"
    + EPOCH
    + _SPLIT
    + _BLUR
    + _FREE
    + """
local function least(one, other)
    if #one < #other or (#one == #other and one < other) then return one end
    return other
end
local function add(key, field, amount)
    if amount ~= '0' then redis.call('HINCRBY', key, field, amount) end
end
local function take(key, field, amount)
    if amount ~= '0' then redis.call('HINCRBY', key, field, '-' .. amount) end
end
local function draw(balance, cost, lease, charge)
    local left = redis.call('HMGET', lease, 'a', 'g')
    if left[1] then
        local drawn = least(left[1], cost)
        take(lease, 'a', drawn)
        if redis.call('HGET', balance, 'g') == left[2] then take(balance, 'h', drawn) end
        return
    end
    left = redis.call('HGET', charge, 'a')
    if not left then
        blur(balance)
        return
    end
    local drawn = least(left, cost)
    take(charge, 'a', drawn)
    take(balance, 's', drawn)
    if drawn == left then redis.call('DEL', charge) end
end
for _, item in ipairs(cjson.decode(ARGV[3])) do
    local hold, charge, balances = KEYS[item.h], KEYS[item.c], {}
    local found = redis.call('HMGET', hold, 't', 'a', 'g')
    local exact = found[1] == '1' and item.mode == 'count'
    for _, place in ipairs(item.b) do
        balances[#balances + 1] = KEYS[place]
        redis.call('HDEL', KEYS[place], 'w:' .. item.id)
    end
    if found[1] and item.mode == 'keep' then
        redis.call('HSET', hold, 't', 'void')
    elseif found[1] then
        local held_on = balances
        if item.f then
            held_on = {}
            for _, place in ipairs(item.f) do held_on[#held_on + 1] = KEYS[place] end
        end
        free(held_on, split(found[2]), split(found[3]))
        redis.call('DEL', hold)
        redis.call('ZREM', KEYS[2], item.id)
    end
    local charged = split(redis.call('HGET', charge, 'a'))
    exact = exact and (#charged == 0 or #charged == #balances)
    for place, key in ipairs(balances) do
        if exact then
            add(key, 's', item.cost[place])
            take(key, 's', charged[place] or '0')
            if item.l and #charged == 0 then
                draw(key, item.cost[place], KEYS[item.l[place][1]], KEYS[item.l[place][2]])
            end
            if redis.call('HGET', key, 'e') ~= epoch then blur(key) end
        elseif item.mode ~= 'drop' then
            blur(key)
        end
    end
    if item.open then
        if exact then
            redis.call('HSET', charge, 'r', item.r, 'a', table.concat(item.cost, ','))
            redis.call('PEXPIRE', charge, item.keep)
        end
    elseif item.mode ~= 'drop' then
        redis.call('DEL', charge)
    end
end
return 'ok'
"""
)
"""Follows the ledger, which has been written. KEYS as of `BEGIN`. ARGV: a new epoch, milliseconds that a balance is
kept, the calls. mode: "count" the cost; "doubt", read the balances anew; "keep" the hold, and doubt; "drop" it."""

RELEASE = (
    "#!lua flags=allow-oom\n"
    + EPOCH
    + _SPLIT
    + _BLUR
    + _FREE
    + """
local found = redis.call('HMGET', KEYS[3], 't', 'a', 'g', 'z')
if not found[1] or found[4] then return 0 end
local balances = {}
for place = 4, #KEYS do balances[#balances + 1] = KEYS[place] end
free(balances, split(found[2]), split(found[3]))
redis.call('DEL', KEYS[3])
redis.call('ZREM', KEYS[2], ARGV[3])
if found[1] ~= '' then
    for _, key in ipairs(balances) do
        redis.call('HDEL', key, 'w:' .. ARGV[3])
        blur(key)
    end
end
return 1
"""
)
"""KEYS: epoch, expiries, hold, balances. ARGV: a new epoch, milliseconds that a balance is kept, id."""

EXTEND = """#!lua
local extended = {}
for place, id in ipairs(cjson.decode(ARGV[3])) do
    local found = redis.call('HMGET', KEYS[1 + place], 't', 'z')
    if found[1] and not found[2] then
        redis.call('ZADD', KEYS[1], ARGV[1], id)
        extended[#extended + 1] = id
    end
end
for place = 2 + #cjson.decode(ARGV[3]), #KEYS do redis.call('PEXPIRE', KEYS[place], ARGV[2], 'GT') end
return extended
"""
"""KEYS: expiries, holds, balances. ARGV: expiry (us), milliseconds that the balances are kept, the ids."""

SHRINK = """#!lua flags=allow-oom
local left = redis.call('HMGET', KEYS[1], 'a', 'g', 't')
if not left[1] or left[3] ~= '' or left[1] == '0' then return '0' end
local drawn = ARGV[1]
if #left[1] < #drawn or (#left[1] == #drawn and left[1] < drawn) then drawn = left[1] end
redis.call('HINCRBY', KEYS[1], 'a', '-' .. drawn)
if redis.call('HGET', KEYS[2], 'g') == left[2] then redis.call('HINCRBY', KEYS[2], 'h', '-' .. drawn) end
return drawn
"""
"""KEYS: lease, balance. ARGV: by how much, above zero."""
