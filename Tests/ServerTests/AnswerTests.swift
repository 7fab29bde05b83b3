#if Server
  import Swiftlet
  import Testing

  @testable import Server

  /// What clients get for what they ask.
  struct AnswerTests {
    private static let question: JSON = [["role": "user", "content": "Hi"]]

    private func chat(_ more: JSON.Object = [:], content: JSON = "Hi") -> JSON {
      var body: JSON.Object = [
        "model": "tiny", "messages": [["role": "user", "content": content]], "seed": 1,
      ]
      body.merge(more)
      return .object(body)
    }

    @Test func answersChats() async throws {
      try await LocalServer.run(EchoEngine.Script(reply: "Grüße!")) { server in
        let reply = try await server.post("/v1/chat/completions", chat())
        #expect(reply.status == 200 && reply.headers["content-type"] == "application/json")
        let json = try reply.json
        #expect(json["object"] == "chat.completion" && json["model"] == "tiny")
        #expect(json["id"]?.string?.hasPrefix("chatcmpl-") == true)
        let choice = try #require(json["choices"]?.array?.first)
        #expect(choice["message"]?["content"]?.string?.contains("Gr") == true)
        #expect(choice["message"]?["role"] == "assistant" && choice["finish_reason"] == "stop")
        // <|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n
        #expect(
          json["usage"] == [
            "prompt_tokens": 21, "completion_tokens": 9, "total_tokens": 30,
            "prompt_tokens_details": ["cached_tokens": 4],
          ])
      }
    }

    @Test func streamsChats() async throws {
      try await LocalServer.run(EchoEngine.Script(reply: "abc")) { server in
        let body = chat(["stream": true, "stream_options": ["include_usage": true], "n": 2])
        let reply = try await server.post("/v1/chat/completions", body)
        #expect(reply.status == 200 && reply.headers["content-type"]?.hasPrefix("text/event-stream") == true)
        let events = try reply.events
        #expect(Set(events.map { $0["id"]?.string }).count == 1)
        #expect(events[0]["choices"]?.array?.first?["delta"] == ["role": "assistant", "content": ""])
        for index in 0..<2 {
          let choices = events.compactMap { $0["choices"]?.array?.first }.filter { $0["index"] == .int(index) }
          #expect(choices.compactMap { $0["delta"]?["content"]?.string }.joined() == "abc")
          #expect(choices.compactMap { $0["finish_reason"]?.string } == ["stop"])
        }
        let last = try #require(events.last)
        #expect(last["choices"] == [] && last["usage"]?["completion_tokens"] == 8)
        #expect(events.dropLast().allSatisfy { $0["usage"] == .null })
      }
    }

    @Test func passesSamplingOn() async throws {
      try await LocalServer.run { server in
        let body = chat([
          "temperature": 0.5, "top_p": 0.9, "top_k": 5, "min_p": 0.1, "repetition_penalty": 1.2,
          "presence_penalty": 0.3, "frequency_penalty": -0.4, "logit_bias": ["65": 10, "66": -100], "seed": -1,
          "stop": ["x", "yy"], "max_completion_tokens": 7, "max_tokens": 3, "n": 2, "model": "poet",
        ])
        #expect(try await server.post("/v1/chat/completions", body).status == 200)
        let requests = server.engine.requests
        #expect(requests.map(\.adapter) == ["poet", "poet"])
        #expect(requests.map(\.options.sampling.seed) == [UInt64.max, 0])
        let options = try #require(requests.first?.options)
        #expect(options.stopStrings == ["x", "yy"] && options.maxNewTokens == 7 && options.stopTokens == [256, 258])
        var expected = SamplingOptions()
        (expected.temperature, expected.topP, expected.topK, expected.minP) = (0.5, 0.9, 5, 0.1)
        (expected.repetitionPenalty, expected.presencePenalty, expected.frequencyPenalty) = (1.2, 0.3, -0.4)
        (expected.logitBias, expected.seed) = ([65: 10, 66: -100], UInt64.max)
        #expect(options.sampling == expected)
      }
    }

    /// Without a limit of its own an answer may fill the context, whose last token may follow it.
    @Test func limitsAnswersToTheContext() async throws {
      try await LocalServer.run(EchoEngine.Script(reply: String(repeating: "a", count: 500))) { server in
        let json = try await server.post("/v1/chat/completions", chat()).json
        #expect(json["choices"]?.array?.first?["finish_reason"] == "length")
        #expect(json["usage"]?["completion_tokens"] == 180)
        let completion: JSON = ["prompt": "Hi"]
        #expect(try await server.post("/v1/completions", completion).json["usage"]?["completion_tokens"] == 16)
      }
    }

    @Test func showsProbabilities() async throws {
      try await LocalServer.run(EchoEngine.Script(reply: "Q")) { server in
        let expected: JSON = [
          "token": "Q", "logprob": -0.5, "bytes": [81],
          "top_logprobs": [
            ["token": .string(server.token(65)), "logprob": -1, "bytes": .array(server.bytes(65))],
            ["token": .string(server.token(66)), "logprob": -2, "bytes": .array(server.bytes(66))],
          ],
        ]
        let wanted = chat(["logprobs": true, "top_logprobs": 2])
        let whole = try await server.post("/v1/chat/completions", wanted).json
        // The token that ends the answer has no entry.
        #expect(whole["choices"]?.array?.first?["logprobs"]?["content"] == [expected])

        let completion: JSON = ["prompt": "x", "logprobs": 1]
        let choice = try await server.post("/v1/completions", completion).json["choices"]?.array?.first
        #expect(
          choice?["logprobs"] == [
            "tokens": ["Q"], "token_logprobs": [-0.5],
            "top_logprobs": [.object([server.token(65): -1])], "text_offset": [0],
          ])
      }
    }

    @Test func completesPrompts() async throws {
      try await LocalServer.run { server in
        let body: JSON = ["prompt": ["ab", "cde"], "n": 2, "echo": true, "max_tokens": 100]
        let json = try await server.post("/v1/completions", body).json
        #expect(json["object"] == "text_completion")
        let choices = json["choices"]?.array ?? []
        #expect(choices.map { $0["text"]?.string } == ["abab", "abab", "cdecde", "cdecde"])
        #expect(choices.map { $0["index"] } == [0, 1, 2, 3])
        #expect(json["usage"]?["prompt_tokens"] == 5 && json["usage"]?["completion_tokens"] == 14)
        // One for each prompt.
        #expect(json["usage"]?["prompt_tokens_details"]?["cached_tokens"] == 8)

        let tokens: JSON = ["prompt": [65, 66, 67], "max_tokens": 2, "stream": true]
        let events = try await server.post("/v1/completions", tokens).events
        #expect(events.count == 2 && events.last?["choices"]?.array?.first?["finish_reason"] == "length")
        #expect(server.engine.requests.last?.prompt == [65, 66, 67])
      }
    }

    /// Tools reach the template; calls come out of the text.
    @Test func callsTools() async throws {
      let call = #"One moment. <tool_call>{"name": "add", "arguments": {"a": 1}}</tool_call>"#
      try await LocalServer.run(EchoEngine.Script(reply: call)) { server in
        let tools: JSON = [["type": "function", "function": ["name": "add", "parameters": ["type": "object"]]]]
        let choice = try await server.post("/v1/chat/completions", chat(["tools": tools]))
          .json["choices"]?.array?.first
        #expect(choice?["finish_reason"] == "tool_calls" && choice?["message"]?["content"] == "One moment.")
        let made = try #require(choice?["message"]?["tool_calls"]?.array?.first)
        #expect(made["function"] == ["name": "add", "arguments": #"{"a":1}"#] && made["type"] == "function")

        let streamed = try await server.post("/v1/chat/completions", chat(["tools": tools, "stream": true])).events
        let deltas = streamed.compactMap { $0["choices"]?.array?.first?["delta"] }
        #expect(deltas.compactMap { $0["content"]?.string }.joined() == "One moment.")
        #expect(deltas.compactMap { $0["tool_calls"]?.array?.first?["index"] } == [0])
        #expect(streamed.last?["choices"]?.array?.first?["finish_reason"] == "tool_calls")

        let plain = try await server.post("/v1/chat/completions", chat(["tools": tools, "tool_choice": "none"]))
        #expect(try plain.json["choices"]?.array?.first?["message"]?["content"] == .string(call))
      }
    }

    @Test func constrainsAnswers() async throws {
      try await LocalServer.run(EchoEngine.Script(reply: "{}")) { server in
        let formats: [JSON] = [
          ["type": "text"], ["type": "json_object"],
          ["type": "json_schema", "json_schema": ["name": "x", "schema": ["type": "object"]]],
        ]
        for format in formats {
          #expect(try await server.post("/v1/chat/completions", chat(["response_format": format])).status == 200)
        }
        #expect(server.engine.requests.map { $0.constraint != nil } == [false, true, true])
      }
    }

    @Test func readsEveryKindOfMessage() async throws {
      try await LocalServer.run { server in
        let messages: JSON = [
          ["role": "developer", "content": "Be brief."],
          ["role": "user", "content": [["type": "text", "text": "a"], ["type": "text", "text": "b"]]],
          [
            "role": "assistant", "content": nil,
            "tool_calls": [["id": "1", "type": "function", "function": ["name": "f", "arguments": "{}"]]],
          ],
          ["role": "tool", "tool_call_id": "1", "content": "4"],
        ]
        let reply = try await server.post("/v1/chat/completions", ["messages": messages])
        #expect(reply.status == 200, "\(reply.body)")
        let text = try reply.json["choices"]?.array?.first?["message"]?["content"]?.string
        #expect(text == "system\nBe brief.\nuser\nab\nassistant\n\ntool\n4\nassistant\n")
      }
    }

    @Test func namesModels() async throws {
      try await LocalServer.run { server in
        let list = try await server.get("/v1/models").json
        #expect(list["object"] == "list")
        #expect(list["data"]?.array?.map { $0["id"] } == ["tiny", "poet"])
        #expect(list["data"]?.array?.map { $0["parent"] } == [.null, "tiny"])
        #expect(try await server.get("/v1/models/poet").json["object"] == "model")
        #expect(try await server.get("/v1/models/nobody").status == 404)
      }
    }

    @Test func changesAdapters() async throws {
      try await LocalServer.run(settings: { $0.allowsAdapterUpdates = true }) { server in
        let body: JSON = ["lora_name": "bard", "lora_path": "/adapters/bard"]
        let reply = try await server.post("/v1/load_lora_adapter", body)
        #expect(reply.status == 200 && reply.body == "Success: LoRA adapter 'bard' added successfully.")
        #expect(server.engine.adapterNames == ["poet", "bard"])
        #expect(try await server.post("/v1/load_lora_adapter", body).status == 400)
        let missing: JSON = ["lora_name": "x", "lora_path": "/missing"]
        #expect(try await server.post("/v1/load_lora_adapter", missing).status == 400)
        #expect(try await server.post("/v1/unload_lora_adapter", ["lora_name": "bard"]).status == 200)
        #expect(server.engine.adapterNames == ["poet"])
        #expect(try await server.post("/v1/unload_lora_adapter", ["lora_name": "bard"]).status == 404)
      }
    }
  }

  extension LocalServer {
    fileprivate func token(_ id: Int32) -> String { probabilities.text(id) }
    fileprivate func bytes(_ id: Int32) -> [JSON] { engine.tokenizer.bytes(of: id).map { .int(Int($0)) } }
    private var probabilities: TokenProbabilities { TokenProbabilities(tokenizer: engine.tokenizer) }
  }
#endif
