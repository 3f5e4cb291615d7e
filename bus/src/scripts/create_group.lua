-- Creates a group where it is missing, so that its lag is known from the first second.
--
-- KEYS  stream
-- ARGV  group, start (`$` or a whole ID), most entries to count, most bytes to read for it,
--       1: no later than the stream's last entry
--
-- Answers {0, last delivered ID} where the group stood already: nothing was changed; else
-- {1, position, first ID of the stream or false, 1 if the stream was created with it}

local stream, group, start = KEYS[1], ARGV[1], ARGV[2]

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

-- Whether ID `a` comes before ID `b`. A part may need all of 64 bits, which a Lua number does not hold.
local function before(a, b)
  local function padded(id)
    local ms, seq = id:match('^(%d+)-(%d+)$')
    return ('0'):rep(20 - #ms) .. ms .. ('0'):rep(20 - #seq) .. seq
  end
  return padded(a) < padded(b)
end

-- Entries after `id`, or nil where there are too many to count at once.
local function count_after(id, length)
  local limit, bytes = tonumber(ARGV[3]), tonumber(ARGV[4])
  local size = redis.pcall('MEMORY', 'USAGE', stream)
  local mean = type(size) == 'number' and size / length or 1024
  limit = math.min(limit, math.floor(bytes / mean))
  local count, page = 0, math.max(1, math.min(100, limit))
  repeat
    local entries = checked(redis.pcall('XRANGE', stream, '(' .. id, '+', 'COUNT', page))
    count = count + #entries
    id = #entries > 0 and entries[#entries][1]
  until #entries < page or count > limit
  return count <= limit and count or nil
end

-- How many entries were added up to `position`, or nil where that is not known: the server believes any number.
local function entries_read(info, last, position)
  if before(last, position) then return nil end
  local added, first = info and info['entries-added'] or 0, info and info['first-entry']
  if position == last or not first then return added end
  if before(position, first[1]) then return added - info.length end
  local after = count_after(position, info.length)
  return after and added - after
end

local function create()
  local info
  if checked(redis.pcall('EXISTS', stream)) == 1 then
    info = record(checked(redis.pcall('XINFO', 'STREAM', stream)))
    for _, flat in ipairs(checked(redis.pcall('XINFO', 'GROUPS', stream))) do
      local g = record(flat)
      if g.name == group then return { 0, g['last-delivered-id'] } end
    end
  end
  local last = info and info['last-generated-id'] or '0-0'
  if ARGV[5] == '1' and start ~= '$' and before(last, start) then start = last end
  local position = start == '$' and last or start
  local options = { stream, group, start, 'MKSTREAM' }
  local read = entries_read(info, last, position)
  if read then
    options[#options + 1] = 'ENTRIESREAD'
    options[#options + 1] = string.format('%.0f', read)
  end
  checked(redis.pcall('XGROUP', 'CREATE', unpack(options)))
  local first = info and info['first-entry']
  return { 1, position, first and first[1] or false, info and 0 or 1 }
end

local ok, answer = pcall(create)
if ok then return answer end
-- Some servers hand a caught error over as a text, some as the table that was thrown.
return type(answer) == 'table' and answer or redis.error_reply(answer)
