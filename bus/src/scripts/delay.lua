-- Moves entries that the caller holds to a reserved consumer until they are due.
--
-- KEYS  source
-- ARGV  group, consumer, pool, {id, attempts, delay}…
-- Reply for each entry 1; 0 if the caller does not hold it any more; 2 if it was trimmed, which also ends its being pending
local source, group, consumer, pool = KEYS[1], ARGV[1], ARGV[2], ARGV[3]
local results = {}
for i = 4, #ARGV, 3 do
  local id, attempts, delay = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  local pending = redis.call('XPENDING', source, group, id, id, 1)[1]
  if pending and pending[2] == consumer then
    local claimed = redis.call('XCLAIM', source, group, pool, 0, id, 'IDLE', 86400000 - delay, 'RETRYCOUNT', attempts,
      'JUSTID')
    results[#results + 1] = #claimed == 1 and 1 or 2
  else
    results[#results + 1] = 0
  end
end
return results
