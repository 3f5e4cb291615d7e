-- Returns how many entries of the stream at `key` may be read while all other clients wait: at most `max`, and about
-- 16 MiB by the mean size of its `length` entries.
local function page_size(key, length, max)
  local size = redis.pcall('MEMORY', 'USAGE', key)
  local mean = type(size) == 'number' and length > 0 and size / length or 1024
  return math.min(max, math.max(1, math.floor(16777216 / mean)))
end

