-- Returns the lease of another consumer in ms: what its heartbeat reported, at most 1 h and at least `lease`, the
-- caller's own; `foreign_lease` if it reported none; the maximum if the hash cannot be read. Also returns whether it may be
-- one of ours: ours write a heartbeat before they first read, and where they may not write it their names end in the
-- nonce of their start.
local function lease_of(consumer, hash, lease, foreign_lease)
  local HOUR = 3600000
  local field = redis.pcall('HGET', hash, 'c:' .. consumer)
  if type(field) == 'table' then return math.max(HOUR, foreign_lease), true end
  local decoded, state = pcall(cjson.decode, field)
  local reported = decoded and type(state) == 'table' and tonumber(state.lease)
  local is_ours = field ~= false or consumer:find('/%x%x%x%x%x%x%x%x$') ~= nil
  return math.max(lease, reported and math.min(math.floor(reported), HOUR) or foreign_lease), is_ours
end

