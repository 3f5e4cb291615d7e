-- Creates a group if it is missing, with ENTRIESREAD, so that its lag is known from the start.
--
-- KEYS  stream
-- ARGV  group, start, max_counted, max_bytes, clamp
-- Reply {0, last delivered ID} if the group exists, which is left as it is; else
--       {1, position, first ID of the stream or false, 1 if the stream was created too}

local stream, group, start = KEYS[1], ARGV[1], ARGV[2]
local max_counted, max_bytes, clamp = tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[5] == '1'

-- Returns the number of entries after `id`, or nil if they are too many to count at once.
local function count_after(id, length)
  local size = redis.pcall('MEMORY', 'USAGE', stream)
  local mean = type(size) == 'number' and size / length or 1024
  local limit = math.min(max_counted, math.floor(max_bytes / mean))
  local count, page = 0, math.max(1, math.min(100, limit))
  repeat
    local entries = checked(redis.pcall('XRANGE', stream, '(' .. id, '+', 'COUNT', page))
    count = count + #entries
    id = #entries > 0 and entries[#entries][1]
  until #entries < page or count > limit
  return count <= limit and count or nil
end

-- Returns the number of entries added up to `position`, or nil if it is unknown: the server accepts any number.
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
  if clamp and start ~= '$' and before(last, start) then start = last end
  local position = start == '$' and last or start
  local options = { stream, group, start, 'MKSTREAM' }
  local read = entries_read(info, last, position)
  -- XSETID sets any count; a larger one than Lua can hold is unknown.
  if read and read >= 0 and read <= 2 ^ 53 then
    options[#options + 1] = 'ENTRIESREAD'
    options[#options + 1] = string.format('%.0f', read)
  end
  checked(redis.pcall('XGROUP', 'CREATE', unpack(options)))
  local first = info and info['first-entry']
  return { 1, position, first and first[1] or false, info and 0 or 1 }
end

return protected(create)
