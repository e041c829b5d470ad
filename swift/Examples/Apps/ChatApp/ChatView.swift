import AppModels
import MLXEngine
import SwiftUI

struct ChatView: View {
    @Bindable var chat: ChatViewModel
    @State private var showsModels = false
    @State private var showsSettings = false

    var body: some View {
        VStack(spacing: 0) {
            LoadingView(loader: chat.loader)
            ScrollView {
                LazyVStack {
                    ForEach(chat.bubbles) { bubble in
                        BubbleView(bubble: bubble)
                    }
                }
                .padding()
            }
            .defaultScrollAnchor(.bottom)
            if let statistics = chat.statistics {
                Text(statistics).font(.caption2).foregroundStyle(.secondary)
            }
            InputBar(chat: chat)
        }
        .navigationTitle(chat.loader.model?.info.name ?? "No model")
        .toolbar {
            Button("Models", systemImage: "shippingbox") { showsModels = true }
            Button("New chat", systemImage: "square.and.pencil", action: chat.startChat)
            Button("Settings", systemImage: "gearshape") { showsSettings = true }
        }
        .sheet(isPresented: $showsModels) {
            ModelPicker { directory in
                showsModels = false
                Task { await chat.open(ModelConfiguration(directory: directory)) }
            }
        }
        .sheet(isPresented: $showsSettings) {
            SettingsView(settings: $chat.settings)
        }
    }
}

struct BubbleView: View {
    let bubble: ChatViewModel.Bubble

    var body: some View {
        HStack {
            if bubble.isUser {
                Spacer(minLength: 40)
            }
            VStack(alignment: .leading) {
                Text(bubble.text).textSelection(.enabled)
                switch bubble.state {
                case .streaming: ProgressView().controlSize(.small)
                case .stopped: Text("Stopped").font(.caption).foregroundStyle(.secondary)
                case .failed(let message): Text(message).font(.caption).foregroundStyle(.red)
                case .done: EmptyView()
                }
            }
            .padding(10)
            .background(bubble.isUser ? Color.accentColor.opacity(0.2) : Color.secondary.opacity(0.15))
            .clipShape(RoundedRectangle(cornerRadius: 14))
            if !bubble.isUser {
                Spacer(minLength: 40)
            }
        }
    }
}

struct InputBar: View {
    @Bindable var chat: ChatViewModel

    var body: some View {
        HStack {
            TextField("Message", text: $chat.draft, axis: .vertical)
                .textFieldStyle(.roundedBorder)
                .onSubmit { chat.send() }
            if chat.isResponding {
                Button("Stop", systemImage: "stop.circle.fill", action: chat.stop)
            } else {
                Button("Send", systemImage: "arrow.up.circle.fill") { chat.send() }
                    .disabled(!chat.canSend)
            }
        }
        .labelStyle(.iconOnly)
        .padding()
    }
}

struct ModelPicker: View {
    let open: (URL) -> Void
    @State private var browser = ModelBrowserViewModel()

    var body: some View {
        NavigationStack {
            ModelList(browser: browser) { open($0.directory) }
                .navigationTitle("Models")
        }
        .task { await browser.scan(.documentsDirectory) }
    }
}

struct SettingsView: View {
    @Binding var settings: ChatSettings

    var body: some View {
        Form {
            Section("Instructions (from the next chat on)") {
                TextField("None", text: $settings.instructions, axis: .vertical)
            }
            Section("Answers") {
                LabeledContent("Temperature") { Slider(value: $settings.temperature, in: 0...2) }
                LabeledContent("Top p") { Slider(value: $settings.topP, in: 0.05...1) }
                Stepper("At most \(settings.maxTokens) tokens", value: $settings.maxTokens, in: 64...8192, step: 64)
            }
            Section("Memory") {
                Stepper(
                    "Keep \(settings.cacheMegabytes) MB for reuse", value: $settings.cacheMegabytes, in: 0...2048,
                    step: 32)
            }
        }
        .onChange(of: settings) { settings.save() }
    }
}
