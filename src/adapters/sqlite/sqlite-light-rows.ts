import type { SqliteTurn } from './sqlite-turn.ts'
import { integer, textOrNull } from './sqlite-connection.ts'

/** Splits an address with a token, as `replyTo` holds it. */
export function splitReplyTo(replyTo: string): { readonly address: string; readonly token: string } {
  const slash = replyTo.lastIndexOf('/')
  return { address: replyTo.slice(0, Math.max(slash, 0)), token: replyTo.slice(slash + 1) }
}

/** Tells whoever asked that nobody is there to answer. */
export function storeNoResponder(turn: SqliteTurn, replyTo: string): void {
  const { address } = splitReplyTo(replyTo)
  turn.connection.run("INSERT INTO trunkline_light (address, kind, reply_to) VALUES (?, 'no-responder', ?)", address, replyTo)
  turn.wakesOthers = true
  turn.wakesInbox = true
}

/** Questions that are handed on in one transaction. */
const QUESTIONS_MAX = 1_000

/** Empties the inbox of an instance that is gone; questions it had not taken get their answer: nobody. */
export function forgetInbox(turn: SqliteTurn, address: string): void {
  const questions = turn.connection.rows(
    "SELECT id, reply_to FROM trunkline_light WHERE address = ? AND kind = 'request' ORDER BY id DESC LIMIT ?",
    address, QUESTIONS_MAX,
  )
  for (const row of questions) {
    const replyTo = textOrNull(row, 'reply_to')
    if (replyTo !== undefined) storeNoResponder(turn, replyTo)
    turn.connection.run('DELETE FROM trunkline_light WHERE id = ?', integer(row, 'id'))
  }
  turn.connection.run('DELETE FROM trunkline_light WHERE address = ?', address)
}
