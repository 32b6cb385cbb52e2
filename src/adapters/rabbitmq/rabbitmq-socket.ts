/** The part of amqplib's socket that matters here. */
interface Socket {
  write: (...parts: readonly unknown[]) => unknown
  cork(): void
  uncork(): void
}

/**
 * Joins what a connection writes in one go into one system call: amqplib makes one for each frame, which with `noDelay` is a
 * packet each and takes more time than all the rest of a publish. Nothing is held back beyond the running callback.
 *
 * The socket is not part of amqplib's documented surface, so a connection that shows none is left as it is.
 */
export function joinWrites(connection: unknown): void {
  const socket = socketOf(connection)
  if (socket === undefined) return
  const write = socket.write.bind(socket)
  let isCorked = false
  const uncork = (): void => {
    isCorked = false
    socket.uncork()
  }
  socket.write = (...parts) => {
    if (!isCorked) {
      isCorked = true
      socket.cork()
      queueMicrotask(uncork)
    }
    return write(...parts)
  }
}

function socketOf(model: unknown): Socket | undefined {
  const socket = memberOf(memberOf(model, 'connection'), 'stream')
  return isSocket(socket) ? socket : undefined
}

function memberOf(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null ? Reflect.get(value, name) : undefined
}

function isSocket(value: unknown): value is Socket {
  return ['write', 'cork', 'uncork'].every((name) => typeof memberOf(value, name) === 'function')
}
