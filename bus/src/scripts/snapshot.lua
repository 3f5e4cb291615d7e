-- What is known about a stream and its groups, at one moment: numbers and entry IDs only. Writes nothing.
--
-- KEYS  stream, then for each group asked for: its dead-letter stream, its hash of consumers
-- ARGV  the names of the groups asked for, in the same order
--
-- Answers {server ms}, followed, where the stream exists, by
--   length, entries added, last generated ID, first ID or false, largest deleted ID, {group, …}
-- group (every one of the stream):
--   {name, pending, last delivered ID, entries read or false, reported lag or false, registered consumers,
--    smallest pending ID or false, delayed, suspects, first undelivered ID or false, consumers, dead letters}
-- consumers, dead letters: false for a group not asked for, an error text where they cannot be read, else
--   {{name, pending, idle ms, heartbeat as JSON or false}, …} and {length, last ID or false, replays}

local stream = KEYS[1]

-- Returns the reply of a command on `key`, or raises its error, which names the key.
local function checked(key, reply)
  if type(reply) ~= 'table' or not reply.err then return reply end
  error({ err = reply.err .. ' (' .. key .. ')' })
end

local function record(flat)
  local fields = {}
  for i = 1, #flat, 2 do fields[flat[i]] = flat[i + 1] end
  return fields
end

-- What `part` answers, or the text of its error: one unreadable key must not hide the other groups.
local function attempt(part, ...)
  local ok, answer = pcall(part, ...)
  if ok then return answer end
  return type(answer) == 'table' and answer.err or tostring(answer)
end

local function consumers(group, hash)
  local list = {}
  for _, flat in ipairs(checked(stream, redis.pcall('XINFO', 'CONSUMERS', stream, group))) do
    local c = record(flat)
    list[#list + 1] = { c.name, c.pending, c.idle, checked(hash, redis.pcall('HGET', hash, 'c:' .. c.name)) }
  end
  return list
end

local function dead_letters(group, key)
  local length = checked(key, redis.pcall('XLEN', key))
  if length == 0 then return { 0, false, 0 } end
  local last = checked(key, redis.pcall('XREVRANGE', key, '+', '-', 'COUNT', 1))[1]
  for _, flat in ipairs(checked(key, redis.pcall('XINFO', 'GROUPS', key))) do
    local replaying = record(flat)
    if replaying.name == group then return { length, last[1], replaying.pending } end
  end
  return { length, last[1], 0 }
end

local asked = {}
for i, name in ipairs(ARGV) do asked[name] = i end

-- Groups that stand at the same place share the look-up, which costs a copy of the entry.
local following = { ['18446744073709551615-18446744073709551615'] = false }
local function first_after(id)
  if following[id] == nil then
    local entry = checked(stream, redis.pcall('XRANGE', stream, '(' .. id, '+', 'COUNT', 1))[1]
    following[id] = entry and entry[1] or false
  end
  return following[id]
end

local function group_facts(g, last_generated)
  local pending = { 0, false }
  if g.pending > 0 then pending = checked(stream, redis.pcall('XPENDING', stream, g.name)) end
  local held = {}
  for _, owner in ipairs(pending[4] or {}) do held[owner[1]] = tonumber(owner[2]) end
  local last, i = g['last-delivered-id'], asked[g.name]
  return {
    g.name, pending[1], last, g['entries-read'], g.lag, g.consumers,
    pending[2], held['eventbus:delayed'] or 0, held['eventbus:suspect'] or 0,
    last ~= last_generated and first_after(last),
    i and attempt(consumers, g.name, KEYS[2 * i + 1]) or false,
    i and attempt(dead_letters, g.name, KEYS[2 * i]) or false,
  }
end

local function sweep()
  local time = checked(stream, redis.pcall('TIME'))
  local server_ms = time[1] * 1000 + math.floor(time[2] / 1000)
  if checked(stream, redis.pcall('EXISTS', stream)) == 0 then return { server_ms } end
  local info = record(checked(stream, redis.pcall('XINFO', 'STREAM', stream)))
  local groups = {}
  for _, flat in ipairs(checked(stream, redis.pcall('XINFO', 'GROUPS', stream))) do
    groups[#groups + 1] = group_facts(record(flat), info['last-generated-id'])
  end
  return {
    server_ms, info.length, info['entries-added'], info['last-generated-id'],
    info['first-entry'] and info['first-entry'][1], info['max-deleted-entry-id'], groups,
  }
end

local ok, answer = pcall(sweep)
if ok then return answer end
-- Some servers hand a caught error over as a text, some as the table that was thrown.
return type(answer) == 'table' and answer or redis.error_reply(answer)
