import type { ServerResponse } from 'node:http'

/**
 * Writes a web response to Node's, as fast as the socket takes it. Resolves when all was written, or when the caller has gone, whose
 * leaving cancels the body.
 */
export async function writeResponse(response: Response, outgoing: ServerResponse, closesConnection: boolean): Promise<void> {
  outgoing.statusCode = response.status
  for (const [name, value] of response.headers) if (name !== 'set-cookie') outgoing.setHeader(name, value)
  const cookies = response.headers.getSetCookie()
  if (cookies.length > 0) outgoing.setHeader('set-cookie', cookies)
  if (closesConnection) outgoing.setHeader('connection', 'close')
  const { body } = response
  if (body === null) {
    outgoing.end()
    return
  }
  const reader = body.getReader()
  // A body whose reader has gone ends by itself.
  outgoing.once('close', () => {
    reader.cancel().catch(() => {})
  })
  try {
    // Before the first part of a stream: its caller waits for the head.
    outgoing.flushHeaders()
    for (let part = await reader.read(); !part.done; part = await reader.read()) {
      if (!outgoing.write(part.value) && !outgoing.destroyed) await drained(outgoing)
    }
    outgoing.end()
  } catch {
    // A body that breaks must not look like one that ended.
    outgoing.destroy()
  }
}

/** Resolves when the socket takes more, or is gone. */
function drained(outgoing: ServerResponse): Promise<void> {
  return new Promise((resolve) => {
    const finish = (): void => {
      outgoing.off('drain', finish)
      outgoing.off('close', finish)
      resolve()
    }
    outgoing.on('drain', finish)
    outgoing.on('close', finish)
  })
}
