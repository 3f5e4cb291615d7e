-- Has entries of mine wait for their time.
--
-- KEYS  stream or dead letters
-- ARGV  group, me, (id, attempts begun, delay in ms)…
-- Reply for each 1, or 0 where it is not mine any more
local stream, group, me = KEYS[1], ARGV[1], ARGV[2]
local answers = {}
for i = 3, #ARGV, 3 do
  local id, attempts, delay = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  local pending = redis.call('XPENDING', stream, group, id, id, 1)[1]
  if pending and pending[2] == me then
    redis.call('XCLAIM', stream, group, 'ecg:parked', 0, id, 'IDLE', 86400000 - delay, 'RETRYCOUNT', attempts, 'JUSTID')
    answers[#answers + 1] = 1
  else
    answers[#answers + 1] = 0
  end
end
return answers
