-- Drops the oldest entries of a stream that is full, and counts what that takes from each group.
--
-- KEYS  stream, hash of losses
-- ARGV  entries to drop, only where there are at least so many: another publisher may have made room meanwhile
--
-- Answers {removed, length, {group, lost, …}, problem}
--   lost      entries that the group had not acknowledged: pending with it, or not delivered to it yet
--   problem   false, or why the losses could not be added to the hash: the entries are dropped all the same

local stream, losses = KEYS[1], KEYS[2]
local PAGE = 500
-- What may be read while everybody else waits.
local MOST_BYTES = 16777216

-- Returns the reply of a command, or raises its error.
local function checked(reply)
  if type(reply) ~= 'table' or not reply.err then return reply end
  error({ err = reply.err })
end

local function record(flat)
  local fields = {}
  for i = 1, #flat, 2 do fields[flat[i]] = flat[i + 1] end
  return fields
end

-- A form of ID `id` that sorts as text. A part may need all of 64 bits, which a Lua number does not hold.
local function padded(id)
  local ms, seq = id:match('^(%d+)-(%d+)$')
  return ('0'):rep(20 - #ms) .. ms .. ('0'):rep(20 - #seq) .. seq
end

-- The IDs that are dropped, oldest first. Whole nodes where there are any that are not too many.
local function drop(wanted)
  local entries = checked(redis.pcall('XRANGE', stream, '-', '+', 'COUNT', wanted + 1))
  if #entries <= wanted then return {} end
  local first_kept = entries[wanted + 1][1]
  local removed = checked(redis.pcall('XTRIM', stream, 'MINID', '~', first_kept, 'LIMIT', wanted))
  if removed == 0 then removed = checked(redis.pcall('XTRIM', stream, 'MINID', first_kept)) end
  local ids = {}
  for i = 1, removed do ids[i] = entries[i][1] end
  return ids
end

-- Takes the dropped entries off the group's pending list, and answers which those were.
local function forget_pending(group, is_dropped, last)
  local forgotten, from = {}, '-'
  repeat
    local page, acknowledge = checked(redis.pcall('XPENDING', stream, group, from, last, PAGE)), {}
    for _, entry in ipairs(page) do
      if is_dropped[entry[1]] then
        acknowledge[#acknowledge + 1] = entry[1]
        forgotten[entry[1]] = true
      end
      from = '(' .. entry[1]
    end
    if #acknowledge > 0 then checked(redis.pcall('XACK', stream, group, unpack(acknowledge))) end
  until #page < PAGE
  return forgotten
end

local function lost_to(g, ids, is_dropped)
  local forgotten = g.pending > 0 and forget_pending(g.name, is_dropped, ids[#ids]) or {}
  local position, lost = padded(g['last-delivered-id']), 0
  for _, id in ipairs(ids) do
    if forgotten[id] or padded(id) > position then lost = lost + 1 end
  end
  return lost
end

local function drop_and_count()
  local length, counts, problem = checked(redis.pcall('XLEN', stream)), {}, false
  if length < tonumber(ARGV[2]) then return { 0, length, counts, problem } end
  local size = redis.pcall('MEMORY', 'USAGE', stream)
  local mean = type(size) == 'number' and length > 0 and size / length or 1024
  local wanted = math.min(tonumber(ARGV[1]), math.max(1, math.floor(MOST_BYTES / mean)))
  local ids, is_dropped = drop(wanted), {}
  if #ids == 0 then return { 0, checked(redis.pcall('XLEN', stream)), counts, problem } end
  for _, id in ipairs(ids) do is_dropped[id] = true end
  for _, flat in ipairs(checked(redis.pcall('XINFO', 'GROUPS', stream))) do
    local g = record(flat)
    local lost = lost_to(g, ids, is_dropped)
    if lost > 0 then
      counts[#counts + 1] = g.name
      counts[#counts + 1] = lost
      local written = redis.pcall('HINCRBY', losses, g.name, lost)
      if type(written) == 'table' then problem = written.err end
    end
  end
  return { #ids, checked(redis.pcall('XLEN', stream)), counts, problem }
end

local ok, answer = pcall(drop_and_count)
if ok then return answer end
-- Some servers hand a caught error over as a text, some as the table that was thrown.
return type(answer) == 'table' and answer or redis.error_reply(answer)
