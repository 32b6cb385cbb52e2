/** Shows where the demo is: one line that changes on a terminal, a line a second elsewhere. */
export class ProgressLine {
  readonly #stream: NodeJS.WriteStream
  #shownAtMs = 0
  #last = ''

  constructor(stream: NodeJS.WriteStream) {
    this.#stream = stream
  }

  show(text: string): void {
    if (text === this.#last) return
    if (this.#stream.isTTY) {
      // Cut to the width: a line that wraps could not be taken back. Some terminals say that they have none.
      const width = this.#stream.columns > 0 ? this.#stream.columns : 80
      this.#stream.write(`\r\u001B[2K${text.slice(0, width - 1)}`)
    } else {
      if (performance.now() - this.#shownAtMs < 1_000) return
      this.#stream.write(`${text}\n`)
    }
    this.#shownAtMs = performance.now()
    this.#last = text
  }

  /** Something that stays, such as what is being started. */
  say(text: string): void {
    this.clear()
    this.#stream.write(`${text}\n`)
  }

  clear(): void {
    if (this.#stream.isTTY && this.#last !== '') this.#stream.write('\r\u001B[2K')
    this.#last = ''
  }
}
