-- Has entries of mine wait for their time, or come back to those whose consumer vanished.
--
-- KEYS  stream or dead letters
-- ARGV  group, me, pool (eventbus:delayed or eventbus:suspect), (id, attempts begun, delay in ms)…
-- Reply for each 1; 0 where it is not mine any more; 2 where it was trimmed meanwhile, and is pending no more
local stream, group, me, pool = KEYS[1], ARGV[1], ARGV[2], ARGV[3]
local answers = {}
for i = 4, #ARGV, 3 do
  local id, attempts, delay = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  local pending = redis.call('XPENDING', stream, group, id, id, 1)[1]
  if pending and pending[2] == me then
    local claimed = redis.call('XCLAIM', stream, group, pool, 0, id, 'IDLE', 86400000 - delay, 'RETRYCOUNT', attempts,
      'JUSTID')
    answers[#answers + 1] = #claimed == 1 and 1 or 2
  else
    answers[#answers + 1] = 0
  end
end
return answers
