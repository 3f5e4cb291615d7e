-- Counts entries without sending them anywhere. Writes nothing.
--
-- KEYS  stream
-- ARGV  an ID (exclusive), an ID (inclusive), at most so many
-- Answers {entries, last ID or false}

local reply = redis.pcall('XRANGE', KEYS[1], '(' .. ARGV[1], ARGV[2], 'COUNT', ARGV[3])
if reply.err then return reply end
return { #reply, reply[1] and reply[#reply][1] or false }
