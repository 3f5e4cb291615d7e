-- Counts entries on the server. Writes nothing.
--
-- KEYS  stream
-- ARGV  after, last, max
-- Reply {entries, ID of the last one or false}

local reply = redis.pcall('XRANGE', KEYS[1], '(' .. ARGV[1], ARGV[2], 'COUNT', ARGV[3])
if reply.err then return reply end
return { #reply, reply[1] and reply[#reply][1] or false }
