-- Returns the lease of another consumer in ms: what its heartbeat reported, at most 1 h and at least `lease`, the
-- caller's own; `foreign_lease` if it reported none; the maximum if the hash cannot be read.
local function lease_of(consumer, hash, lease, foreign_lease)
  local HOUR = 3600000
  local field = redis.pcall('HGET', hash, 'c:' .. consumer)
  if type(field) == 'table' then return math.max(HOUR, foreign_lease) end
  local decoded, state = pcall(cjson.decode, field)
  local reported = decoded and type(state) == 'table' and tonumber(state.lease)
  return math.max(lease, reported and math.min(math.floor(reported), HOUR) or foreign_lease)
end

